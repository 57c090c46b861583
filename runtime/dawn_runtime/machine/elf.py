"""Which shared libraries a library asks for: the DT_NEEDED entries of an ELF file.

Loading the library would tell too, but only where everything it asks for is there; and `readelf`
is not on every device. Layout: System V ABI, chapters "Object Files" and "Dynamic Linking", in the
64-bit little-endian form of x86-64 and AArch64.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from dawn_runtime.errors import EngineError

_MAGIC: Final = b"\x7fELF\x02\x01"
"""ELF, 64 bits, little-endian."""

_HEADER = struct.Struct("<32xQ14xHH6x")
"""Offset of the program headers, size of one, how many."""

_SEGMENT = struct.Struct("<I4xQQ8xQ16x")
"""Type, offset in the file, address in memory, size in the file."""

_ENTRY = struct.Struct("<qQ")
"""Tag and value of an entry of the dynamic section."""

_LOAD, _DYNAMIC = 1, 2
_NEEDED, _STRING_TABLE, _STRING_TABLE_SIZE = 1, 5, 10
_MOST_BYTES: Final = 2**20
"""Dynamic sections and their string tables are far smaller; a damaged file may claim anything."""


@dataclass(frozen=True, slots=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


def needed_libraries(path: Path) -> tuple[str, ...]:
    """Returns the names of the libraries that the dynamic linker loads with this one, in order.

    Args:
        path: A shared library.

    Raises:
        EngineError: The file cannot be read, or is not a 64-bit little-endian shared library.
    """
    try:
        with path.open("rb") as file:
            return _needed(file)
    except (OSError, ValueError, struct.error) as error:
        raise EngineError(
            f"{path}: not a 64-bit little-endian shared library ({error}); install it again"
        ) from error


def _needed(file: BinaryIO) -> tuple[str, ...]:
    segments = _segments(file)
    dynamic = next((s for s in segments if s.kind == _DYNAMIC), None)
    if dynamic is None:
        return ()  # linked statically
    size = dynamic.size - dynamic.size % _ENTRY.size
    entries = list(_ENTRY.iter_unpack(_read(file, dynamic.offset, size)))
    values = dict(entries)
    strings = _read(
        file, _offset(segments, values.get(_STRING_TABLE, 0)), values.get(_STRING_TABLE_SIZE, 0)
    )
    return tuple(_text(strings, value) for tag, value in entries if tag == _NEEDED)


def _segments(file: BinaryIO) -> list[_Segment]:
    header = _read(file, 0, 64)
    if not header.startswith(_MAGIC):
        raise ValueError("wrong magic number")
    offset, size, count = _HEADER.unpack_from(header)
    if size != _SEGMENT.size:
        raise ValueError(f"program headers of {size} bytes")
    return [_Segment(*entry) for entry in _SEGMENT.iter_unpack(_read(file, offset, size * count))]


def _offset(segments: list[_Segment], address: int) -> int:
    """Where in the file the byte lies that is loaded to an address."""
    for segment in segments:
        if segment.kind == _LOAD and 0 <= address - segment.address < segment.size:
            return segment.offset + address - segment.address
    raise ValueError(f"address {address:#x} is in no segment")


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    if size > _MOST_BYTES:
        raise ValueError(f"a table of {size} bytes")
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise ValueError("truncated")
    return data


def _text(strings: bytes, offset: int) -> str:
    end = strings.find(b"\0", offset)
    if not 0 <= offset < end:
        raise ValueError("a name outside the string table")
    return strings[offset:end].decode("utf-8")
