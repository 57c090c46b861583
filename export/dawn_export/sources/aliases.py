"""Short names of published checkpoints, behind `--model NAME`: families name theirs.

Licences are those that a model card was seen to state; where none was seen the table says so. The
card on the Hub is what counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dawn_models import FAMILIES, Family

ASK_THE_CARD = "see the model card"
"""Stands where the licence is not known to us."""


@dataclass(frozen=True, slots=True)
class Alias:
    """A short name of a repository on the Hugging Face Hub.

    Attributes:
        name: What one types.
        repository: Its id on the Hub.
        family: The family that reads it, as in `dawn_models.ModelConfig.family`.
        licence: What the model card states, or `ASK_THE_CARD`.
    """

    name: str
    repository: str
    family: str
    licence: str = ASK_THE_CARD


def aliases_of(families: Iterable[Family]) -> dict[str, Alias]:
    """The releases of some families, by what one types."""
    return {
        one.name: Alias(one.name, one.repository, family.name, one.licence or ASK_THE_CARD)
        for family in families
        for one in family.releases
    }


ALIASES: dict[str, Alias] = aliases_of(FAMILIES.values())
"""Every short name, by itself."""


def alias_table() -> str:
    """Returns the table as text: name, repository, family and licence, one alias a line."""
    heading = ("name", "repository", "family", "licence")
    rows = [heading, *((a.name, a.repository, a.family, a.licence) for a in ALIASES.values())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heading))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
