r"""Coupled choices on a board: one mark on any free place, and no second one.

    Put one x on a free place:\n.#...\n..#..\n.....\n....#\n.....
    .#...\n..#..\n.....\n.x..#\n.....

The board has five rows and three or four places that are taken. Each free place stays empty with a
probability above 0.95, and all of them together never do: what is likely everywhere is wrong.
"""

import random
from dataclasses import dataclass

from dawn_calibration.tasks.base import RIGHT, Task, Verdict, wrong
from dawn_calibration.tasks.grid import EMPTY, first_changed, pattern, place, read_cells, written
from dawn_calibration.tasks.template import read_any, templates

SIZE = 5
MARK, TAKEN = "x", "#"
_TAKEN = (3, 4)
_TEMPLATES = templates(
    {"board": pattern(SIZE, TAKEN + EMPTY)},
    "Put one x on a free place:\n{board}",
    "Write one x for any . of these:\n{board}",
)


@dataclass(frozen=True, slots=True)
class Board:
    """The places row after row, taken or empty."""

    places: str

    @property
    def key(self) -> str:
        """Which places are taken."""
        return self.places


class CoupledBoard(Task[Board]):
    """Marking one place: any free one is right, none and two are not."""

    name = "coupled-board"

    def draw(self, rng: random.Random) -> Board:
        """Draws which places are taken."""
        taken = rng.sample(range(SIZE * SIZE), rng.choice(_TAKEN))
        return Board("".join(TAKEN if i in taken else EMPTY for i in range(SIZE * SIZE)))

    def ask(self, problem: Board, rng: random.Random) -> str:
        """Shows the board below the request."""
        return rng.choice(_TEMPLATES).fill({"board": written(problem.places)})

    def solve(self, problem: Board, rng: random.Random) -> str:
        """Marks any of the free places."""
        mark = rng.choice([i for i, cell in enumerate(problem.places) if cell == EMPTY])
        return written(problem.places[:mark] + MARK + problem.places[mark + 1 :])

    def read(self, prompt: str) -> Board | None:
        """Reads the board; a full one is no problem of this task."""
        values = read_any(_TEMPLATES, prompt)
        if values is None or EMPTY not in values["board"]:
            return None
        return Board(values["board"].replace("\n", ""))

    def judge(self, problem: Board, text: str) -> Verdict:
        """Looks at the taken places, then counts marks."""
        cells = read_cells(text, SIZE, MARK + TAKEN + EMPTY)
        if cells is None:
            return wrong("expected five lines of five places, each x, # or .")
        changed = first_changed(problem.places, cells)
        if changed is not None:
            return wrong(f"the # of {place(changed, SIZE)} is changed")
        if cells.count(TAKEN) != problem.places.count(TAKEN):
            return wrong("a # is put where there was none")
        marks = cells.count(MARK)
        return RIGHT if marks == 1 else wrong(f"expected one x, got {marks}")
