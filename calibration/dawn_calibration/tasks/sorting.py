"""Sorting three to six distinct numbers, upwards or downwards.

    Sort these numbers in ascending order: 42 7 19 88
    7 19 42 88

One list is right.
"""

import random
import re
from dataclasses import dataclass

from dawn_calibration.tasks.base import RIGHT, Task, Verdict, wrong
from dawn_calibration.tasks.template import NUMBER, one_of, read_any, templates

_LIST = re.compile(rf"{NUMBER}(?: {NUMBER})*")
_TEMPLATES = templates(
    {"order": one_of(("ascending", "descending")), "numbers": _LIST.pattern},
    "Sort {order}: {numbers}",
    "Sort these numbers in {order} order: {numbers}",
    "Write the numbers {numbers} in {order} order.",
)


@dataclass(frozen=True, slots=True)
class Sorting:
    """Numbers as given, and the direction in which to sort them."""

    numbers: tuple[int, ...]
    descending: bool

    @property
    def key(self) -> str:
        """The set of numbers: neither a permutation nor the other direction is a new problem."""
        return " ".join(map(str, sorted(self.numbers)))

    def answer(self) -> tuple[int, ...]:
        """Returns the numbers sorted."""
        return tuple(sorted(self.numbers, reverse=self.descending))


class Sort(Task[Sorting]):
    """Sorting numbers; one list is right."""

    name = "sort"

    def draw(self, rng: random.Random) -> Sorting:
        """Draws distinct numbers between 0 and 99 and a direction."""
        return Sorting(tuple(rng.sample(range(100), rng.randint(3, 6))), rng.random() < 0.5)

    def ask(self, problem: Sorting, rng: random.Random) -> str:
        """Lists the numbers behind or within the request."""
        order = "descending" if problem.descending else "ascending"
        numbers = " ".join(map(str, problem.numbers))
        return rng.choice(_TEMPLATES).fill({"order": order, "numbers": numbers})

    def solve(self, problem: Sorting, rng: random.Random) -> str:
        """Writes the sorted numbers with single spaces."""
        return " ".join(map(str, problem.answer()))

    def read(self, prompt: str) -> Sorting | None:
        """Reads numbers and direction."""
        values = read_any(_TEMPLATES, prompt)
        if values is None:
            return None
        numbers = tuple(map(int, values["numbers"].split(" ")))
        return Sorting(numbers, values["order"] == "descending")

    def judge(self, problem: Sorting, text: str) -> Verdict:
        """Compares the numbers one by one."""
        if _LIST.fullmatch(text) is None:
            return wrong("expected numbers with single spaces between them")
        given = tuple(map(int, text.split(" ")))
        expected = problem.answer()
        if sorted(given) != sorted(expected):
            return wrong("the numbers are not those of the prompt")
        return RIGHT if given == expected else wrong("the numbers are not in the order asked for")
