"""What was found, how bad it is, and what to do."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Level = Literal["ok", "note", "problem"]
"""`ok`: as it should be. `note`: something is absent that may not be needed. `problem`: something
that is needed does not work."""

_WIDTH: Final = 100
_MARGIN: Final = "  "


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        level: How bad it is.
        topic: What it is about, in one or two words.
        found: What was found.
        advice: What to do; only what is `ok` needs none.

    Raises:
        ValueError: Something is not `ok` and no advice is given.
    """

    level: Level
    topic: str
    found: str
    advice: str = ""

    def __post_init__(self) -> None:
        if self.level != "ok" and not self.advice:
            raise ValueError(f"finding {self.found!r} is a {self.level}; say what to do about it")


def level_of(needed: bool) -> Level:
    """Returns how bad it is that something does not work: a problem only where it is needed."""
    return "problem" if needed else "note"


def table(findings: Sequence[Finding]) -> str:
    """Returns the findings as text: level, topic, what was found, below it what to do."""
    topics = max((len(finding.topic) for finding in findings), default=0)
    return "\n".join(line for finding in findings for line in _lines(finding, topics))


def _lines(finding: Finding, topics: int) -> list[str]:
    head = f"{finding.level:<7}{_MARGIN}{finding.topic:<{topics}}{_MARGIN}"
    indent = " " * len(head)
    lines = _wrapped(finding.found, head, indent)
    return lines + _wrapped(finding.advice, f"{indent}-> ", f"{indent}   ")


def _wrapped(text: str, first: str, others: str) -> list[str]:
    """Breaks at spaces only, so that paths stay whole; nothing for an empty text."""
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_on_hyphens=False,
        break_long_words=False,
    )
