"""A file of arrays and one JSON header, read without believing what it says of itself.

NumPy's own format (.npz), uncompressed. Its reader allocates what a header claims and unpacks what
an archive claims; here nothing is larger than the bytes that are there.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from dawn_runtime.files import open_plain, open_whole

_HEADER: Final = "header"
_SUFFIX: Final = ".npy"

DAMAGE: Final = (EOFError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile)
"""What reading a damaged archive raises; RuntimeError where its flags claim a password or more."""


def write_archive(
    path: Path, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Writes the file, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    with open_whole(path) as file:
        np.savez(file, allow_pickle=False, **{_HEADER: text}, **arrays)


def read_archive(path: Path) -> tuple[str, dict[str, NDArray[Any]]]:
    """Returns the text of the header, and the arrays by name.

    Raises:
        OSError: It cannot be opened, or is no plain file.
        Exception: Any of `DAMAGE`, if it is damaged.
    """
    try:
        stream = open_plain(path)
    except ValueError as error:
        raise OSError(None, str(error)) from error
    with stream, zipfile.ZipFile(stream) as archive:
        arrays = {
            entry.filename.removesuffix(_SUFFIX): _array(archive, entry)
            for entry in archive.infolist()
        }
    return arrays.pop(_HEADER).tobytes().decode(), arrays


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        raise ValueError(f"{entry.filename} is compressed")
    content = io.BytesIO(archive.read(entry))  # which compares checksums
    if npy.read_magic(content) != (1, 0):
        raise ValueError(f"{entry.filename} is of another version")
    shape, in_columns, dtype = npy.read_array_header_1_0(content)
    if dtype.hasobject or (in_columns and len(shape) > 1):
        raise ValueError(f"{entry.filename} is not as it was written")
    # A copy, because what is read from bytes cannot be written to.
    values: NDArray[Any] = np.frombuffer(content.getbuffer()[content.tell() :], dtype=dtype)
    shaped: NDArray[Any] = values.reshape(shape).copy()
    return shaped
