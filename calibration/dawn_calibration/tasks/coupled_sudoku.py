r"""Coupled choices in a grid: a sudoku of four rows with two to four givens, and many solutions.

    Fill this sudoku:\n1...\n..3.\n....\n....
    1324\n2431\n3142\n4213

Every row, column and box of two by two cells holds each digit from 1 to 4 once. Any solution that
agrees with the givens is right; all are equally likely.
"""

import random
from dataclasses import dataclass
from functools import cache
from itertools import permutations

from dawn_calibration.tasks.base import RIGHT, Task, Verdict, wrong
from dawn_calibration.tasks.grid import EMPTY, first_changed, pattern, place, read_cells, written
from dawn_calibration.tasks.template import read_any, templates

SIZE = 4
_DIGITS = "1234"
_GIVENS = (2, 3, 4)
_TEMPLATES = templates(
    {"grid": pattern(SIZE, _DIGITS + EMPTY)},
    "Fill this sudoku:\n{grid}",
    "Write the missing numbers:\n{grid}",
)
_ROWS = tuple(tuple(range(SIZE * i, SIZE * i + SIZE)) for i in range(SIZE))
_COLUMNS = tuple(tuple(range(i, SIZE * SIZE, SIZE)) for i in range(SIZE))
_BOXES = tuple((i, i + 1, i + SIZE, i + SIZE + 1) for i in (0, 2, 8, 10))
_UNITS = (("row", _ROWS), ("column", _COLUMNS), ("box", _BOXES))


@dataclass(frozen=True, slots=True)
class Sudoku:
    """The cells row after row, those to be filled empty."""

    givens: str

    @property
    def key(self) -> str:
        """The givens where they stand."""
        return self.givens

    def solutions(self) -> list[str]:
        """Returns all that the grid may be filled to."""
        given = [_with_cell(*cell) for cell in enumerate(self.givens) if cell[1] != EMPTY]
        return sorted(frozenset.intersection(*given)) if given else list(_full_grids())


class CoupledSudoku(Task[Sudoku]):
    """Filling a sudoku of many solutions: any of them is right, no mixture is."""

    name = "coupled-sudoku"

    def draw(self, rng: random.Random) -> Sudoku:
        """Draws a solution and which of its cells are given."""
        full = rng.choice(_full_grids())
        shown = rng.sample(range(len(full)), rng.choice(_GIVENS))
        return Sudoku("".join(cell if i in shown else EMPTY for i, cell in enumerate(full)))

    def ask(self, problem: Sudoku, rng: random.Random) -> str:
        """Shows the grid below the request."""
        return rng.choice(_TEMPLATES).fill({"grid": written(problem.givens)})

    def solve(self, problem: Sudoku, rng: random.Random) -> str:
        """Writes any of the solutions."""
        return written(rng.choice(problem.solutions()))

    def read(self, prompt: str) -> Sudoku | None:
        """Reads the grid; one that has no solution is no problem of this task."""
        values = read_any(_TEMPLATES, prompt)
        if values is None:
            return None
        problem = Sudoku(values["grid"].replace("\n", ""))
        return problem if EMPTY in problem.givens and problem.solutions() else None

    def judge(self, problem: Sudoku, text: str) -> Verdict:
        """Looks at the givens, then at every row, column and box."""
        cells = read_cells(text, SIZE, _DIGITS)
        if cells is None:
            return wrong("expected four lines of four digits from 1 to 4")
        changed = first_changed(problem.givens, cells)
        if changed is not None:
            return wrong(
                f"the given {problem.givens[changed]} of {place(changed, SIZE)} is changed"
            )
        for name, units in _UNITS:
            for number, unit in enumerate(units, start=1):
                if len({cells[i] for i in unit}) < SIZE:
                    return wrong(f"{name} {number} holds a digit twice")
        return RIGHT


@cache
def _full_grids() -> tuple[str, ...]:
    """All 288 full grids."""
    found = [""]
    for _ in range(SIZE):
        rows = ["".join(row) for row in permutations(_DIGITS)]
        found = [grid + row for grid in found for row in rows if _fits(grid + row)]
    return tuple(found)


@cache
def _with_cell(index: int, digit: str) -> frozenset[str]:
    """The full grids with a digit in a cell."""
    return frozenset(grid for grid in _full_grids() if grid[index] == digit)


def _fits(cells: str) -> bool:
    """Whether no digit stands twice in a unit of a grid of which the first rows are filled."""
    filled = [[cells[i] for i in unit if i < len(cells)] for _, units in _UNITS for unit in units]
    return all(len(set(unit)) == len(unit) for unit in filled)
