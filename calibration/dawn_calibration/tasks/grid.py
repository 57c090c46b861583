"""Square grids as text: one line for each row, one character for each cell."""

import re

EMPTY = "."
"""A cell that nothing stands in."""


def pattern(size: int, cells: str) -> str:
    """Returns a pattern for a grid of `size` rows whose cells are any of the characters `cells`."""
    row = f"[{re.escape(cells)}]{{{size}}}"
    return rf"{row}(?:\n{row}){{{size - 1}}}"


def written(cells: str) -> str:
    """Writes the cells of a square grid, given row after row, as lines."""
    size = int(len(cells) ** 0.5)
    return "\n".join(cells[start : start + size] for start in range(0, len(cells), size))


def read_cells(text: str, size: int, cells: str) -> str | None:
    """Returns the cells of a grid row after row, or None if the text is no such grid."""
    return text.replace("\n", "") if re.fullmatch(pattern(size, cells), text) else None


def first_changed(given: str, cells: str) -> int | None:
    """Returns the first place where a cell that is not empty in `given` is another in `cells`."""
    pairs = enumerate(zip(given, cells, strict=True))
    return next((i for i, (old, new) in pairs if old not in (EMPTY, new)), None)


def place(index: int, size: int) -> str:
    """Names a cell for a message, rows and columns counted from 1."""
    return f"row {index // size + 1}, column {index % size + 1}"
