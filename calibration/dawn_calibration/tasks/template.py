"""Sentences with holes that can be filled and read back.

Every prompt is written by a template and read by the same template, so that a checker needs nothing
but the prompt.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

_HOLE = re.compile(r"\{(\w+)\}")

NUMBER = r"(?:0|[1-9][0-9]{0,3})"
"""Pattern of a natural number: ASCII digits, no leading zero, at most four digits."""


def one_of(words: Iterable[str]) -> str:
    """Returns a pattern for any of the words; of two that start alike the longer is tried first."""
    alternatives = sorted(words, key=lambda word: (-len(word), word))
    return "(?:" + "|".join(map(re.escape, alternatives)) + ")"


@dataclass(frozen=True)
class Template:
    """A text with named holes, such as ``"{who} has {count} {item}."``.

    Attributes:
        text: The text; a hole that occurs twice must be filled alike.
        holes: For every hole the pattern of what may fill it.
    """

    text: str
    holes: Mapping[str, str]

    def fill(self, values: Mapping[str, object]) -> str:
        """Returns the text with its holes filled; values without a hole are left out."""
        return _HOLE.sub(lambda hole: str(values[hole[1]]), self.text)

    def read(self, text: str) -> dict[str, str] | None:
        """Returns what fills the holes in a text, or None if the text does not fit."""
        match = self._pattern.fullmatch(text)
        return None if match is None else match.groupdict()

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        pieces = _HOLE.split(self.text)
        seen: set[str] = set()
        for i in range(0, len(pieces), 2):
            pieces[i] = re.escape(pieces[i])
        for i in range(1, len(pieces), 2):
            hole = pieces[i]
            pieces[i] = f"(?P={hole})" if hole in seen else f"(?P<{hole}>{self.holes[hole]})"
            seen.add(hole)
        return re.compile("".join(pieces))


def templates(holes: Mapping[str, str], *texts: str) -> tuple[Template, ...]:
    """Returns templates that share the patterns of their holes."""
    return tuple(Template(text, holes) for text in texts)


def read_any(choices: Sequence[Template], text: str) -> dict[str, str] | None:
    """Returns what the first fitting template reads in the text, or None if none fits."""
    for template in choices:
        values = template.read(text)
        if values is not None:
            return values
    return None
