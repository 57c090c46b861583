"""Closing open brackets in the right order.

    Close the brackets: ( [ ( ) {
    } ] )

The prompt is the start of a balanced sequence, the answer is the shortest end.
"""

import random
from dataclasses import dataclass

from dawn_calibration.tasks.base import RIGHT, Task, Verdict, wrong
from dawn_calibration.tasks.template import read_any, templates

_CLOSERS = {"(": ")", "[": "]", "{": "}", "<": ">"}
_BRACKET = r"[()\[\]{}<>]"
_TEMPLATES = templates(
    {"brackets": f"{_BRACKET}(?: {_BRACKET})*"},
    "Close the brackets: {brackets}",
    "Write the missing closing brackets for {brackets}",
    "Which brackets must follow to balance {brackets}",
)
_LENGTHS = range(3, 11)
_MAX_DEPTH = 6


@dataclass(frozen=True, slots=True)
class Opening:
    """The start of a balanced sequence, such as ``"([(){"``."""

    brackets: str

    @property
    def key(self) -> str:
        """The sequence itself."""
        return self.brackets

    def open_stack(self) -> list[str] | None:
        """Returns the closers still due, innermost last; None if a bracket closes wrongly."""
        stack: list[str] = []
        for bracket in self.brackets:
            if bracket in _CLOSERS:
                stack.append(_CLOSERS[bracket])
            elif not stack or stack.pop() != bracket:
                return None
        return stack


class Brackets(Task[Opening]):
    """Balancing four kinds of brackets; whitespace in the answer is free."""

    name = "brackets"

    def draw(self, rng: random.Random) -> Opening:
        """Draws random walks until one of the wanted length ends at a wanted depth."""
        length = rng.choice(_LENGTHS)
        while True:
            opening, depth = _walk(rng, length)
            if 1 <= depth <= _MAX_DEPTH:
                return Opening(opening)

    def ask(self, problem: Opening, rng: random.Random) -> str:
        """Shows the brackets with spaces between them."""
        return rng.choice(_TEMPLATES).fill({"brackets": " ".join(problem.brackets)})

    def solve(self, problem: Opening, rng: random.Random) -> str:
        """Closes from the inside out."""
        return " ".join(reversed(problem.open_stack() or ()))

    def read(self, prompt: str) -> Opening | None:
        """Reads the brackets; a sequence that can not be balanced is no problem of this task."""
        values = read_any(_TEMPLATES, prompt)
        if values is None:
            return None
        opening = Opening(values["brackets"].replace(" ", ""))
        return opening if opening.open_stack() else None

    def judge(self, problem: Opening, text: str) -> Verdict:
        """Closes bracket by bracket; opening a new one is wrong."""
        stack = problem.open_stack() or []
        for bracket in "".join(text.split()):
            if not stack or stack.pop() != bracket:
                return wrong(f"{bracket!r} does not close the innermost open bracket")
        return wrong(f"{len(stack)} brackets are left open") if stack else RIGHT


def _walk(rng: random.Random, length: int) -> tuple[str, int]:
    """Returns a sequence of opening brackets and closers that fit, and its depth at the end."""
    sequence = ""
    stack: list[str] = []
    for _ in range(length):
        if stack and rng.random() < 0.4:
            sequence += stack.pop()
        else:
            bracket = rng.choice("([{<")
            sequence += bracket
            stack.append(_CLOSERS[bracket])
    return sequence, len(stack)
