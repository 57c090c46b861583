"""The header of a safetensors file, looked at before the safetensors library does.

A file is 8 bytes of length (little-endian), that many bytes of JSON, and the values. The library
checks offsets, shapes and types, but it reads headers of 100 MB and takes the last of two tensors
of one name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dawn_models.fields import parse_json
from dawn_models.files import read_start

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 4 * 2**20
"""Largest header that is read, of some 30,000 tensors; an 8B model in one file has 50 KiB."""


def read_header(path: Path) -> dict[str, Any]:
    """Read a header: tensor name -> object with ``dtype``, ``shape`` and ``data_offsets``.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no regular file, or the header is not such an object, or too large.
    """
    start, size = read_start(path, LENGTH_BYTES + MAX_HEADER_BYTES)
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if length > size - LENGTH_BYTES:
        raise ValueError(f"a header of {length} bytes in a file of {size}; download it again")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {length} bytes, at most {MAX_HEADER_BYTES} are read")
    return parse_json(start[LENGTH_BYTES : LENGTH_BYTES + length])
