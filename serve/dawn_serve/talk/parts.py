"""What answers are made of: reasoning, text, calls of tools."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Thought:
    """What was written before the answer.

    Attributes:
        text: A piece of it, not empty.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Said:
    """Text for whoever asked.

    Attributes:
        text: A piece of it, not empty.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool that was offered.

    Attributes:
        name: Of the tool.
        arguments: What JSON had; whether they fit the tool is for the caller to see.
    """

    name: str
    arguments: Mapping[str, Any]


Part = Thought | Said | Call


def text_of(parts: Sequence[Part], kind: type[Thought] | type[Said]) -> str:
    """Returns the text of all parts of a kind.

    Args:
        parts: Of an answer.
        kind: `Thought` or `Said`.
    """
    return "".join(one.text for one in parts if isinstance(one, kind))


def calls_of(parts: Sequence[Part]) -> list[Call]:
    """Returns the calls in their order."""
    return [one for one in parts if isinstance(one, Call)]
