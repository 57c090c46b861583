"""Reversing a list of three to six words.

    Reverse this list: cat lamp cat door
    door cat lamp cat

Words may occur twice.
"""

import random
from dataclasses import dataclass

from dawn_calibration.tasks.base import RIGHT, Task, Verdict, wrong
from dawn_calibration.tasks.template import one_of, read_any, templates
from dawn_calibration.tasks.words import ANIMALS, THINGS

_WORDS = ANIMALS + THINGS
_TEMPLATES = templates(
    {"words": f"{one_of(_WORDS)}(?: {one_of(_WORDS)})*"},
    "Reverse this list: {words}",
    "Write the words {words} in reverse order.",
    "Say these words from last to first: {words}",
)


@dataclass(frozen=True, slots=True)
class WordList:
    """Words in the order of the prompt; a word may occur twice."""

    words: tuple[str, ...]

    @property
    def key(self) -> str:
        """The list, or its reverse if that comes first: both ways round are one problem."""
        return " ".join(min(self.words, self.words[::-1]))


class Reverse(Task[WordList]):
    """Reversing words; one list is right."""

    name = "reverse"

    def draw(self, rng: random.Random) -> WordList:
        """Draws words with replacement."""
        return WordList(tuple(rng.choices(_WORDS, k=rng.randint(3, 6))))

    def ask(self, problem: WordList, rng: random.Random) -> str:
        """Lists the words behind or within the request."""
        return rng.choice(_TEMPLATES).fill({"words": " ".join(problem.words)})

    def solve(self, problem: WordList, rng: random.Random) -> str:
        """Writes the words backwards with single spaces."""
        return " ".join(reversed(problem.words))

    def read(self, prompt: str) -> WordList | None:
        """Reads the words."""
        values = read_any(_TEMPLATES, prompt)
        return None if values is None else WordList(tuple(values["words"].split(" ")))

    def judge(self, problem: WordList, text: str) -> Verdict:
        """Compares the words one by one."""
        given = tuple(text.split(" "))
        expected = problem.words[::-1]
        if given == expected:
            return RIGHT
        if sorted(given) != sorted(expected):
            return wrong("the words are not those of the prompt")
        return wrong("the words are not in reverse order")
