"""Rows of bytes in place of keys and values, group by group; `dawn_export.graph.packed_keys`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]

GROUP, WORD = 32, 4


def groups_of(width: int) -> list[slice]:
    """The channels of each group of a head."""
    size = width if width % GROUP else GROUP
    return [slice(begin, begin + size) for begin in range(0, width, size)]


def level_of(group: Numbers) -> int:
    """The level of one group of numbers."""
    magnitude = np.abs(group.astype(np.float32))
    if not float(magnitude.astype(np.float64).sum()) < 2**23:
        return 65535
    root = np.sqrt(np.sqrt(magnitude.max()))
    return max(1, int(np.ceil(root * np.float32(1024))))


def scale_of(level: int) -> np.float32:
    """What a byte of a group of this level counts."""
    if level == 65535:
        return np.float32(np.inf)
    root = np.float32(level) / np.float32(1024)
    return np.float32(root * root) * np.float32(root * root) / np.float32(127)


def pack(numbers: Numbers) -> NDArray[np.uint8]:
    """[.., D] -> uint8 [.., W]."""
    rows = [_pack_row(row) for row in numbers.reshape(-1, numbers.shape[-1])]
    return np.array(rows, np.uint8).reshape(*numbers.shape[:-1], -1)


def _pack_row(row: Numbers) -> list[int]:
    values: list[int] = []
    levels = [level_of(row[group]) for group in groups_of(len(row))]
    for group, level in zip(groups_of(len(row)), levels, strict=True):
        steps = np.rint(row[group].astype(np.float32) / scale_of(level)) + 128
        values += [int(step) if np.isfinite(step) else 0 for step in steps]
    values += [level // 256 for level in levels] + [level % 256 for level in levels]
    return values + [levels[0] % 256] * (-len(values) % WORD)


def unpack(rows: NDArray[np.uint8], width: int) -> NDArray[np.float32]:
    """uint8 [.., W] -> [.., width]."""
    found = [_unpack_row(row, width) for row in rows.reshape(-1, rows.shape[-1])]
    return np.array(found, np.float32).reshape(*rows.shape[:-1], width)


def _unpack_row(row: NDArray[np.uint8], width: int) -> Numbers:
    groups = groups_of(width)
    high, low = row[width:][: len(groups)], row[width + len(groups) :][: len(groups)]
    numbers = np.zeros(width, np.float32)
    for group, *level in zip(groups, high, low, strict=True):
        scale = scale_of(int(level[0]) * 256 + int(level[1]))
        with np.errstate(invalid="ignore"):  # 0 * infinity
            numbers[group] = (row[group].astype(np.float32) - np.float32(128)) * scale
    return numbers
