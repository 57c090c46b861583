"""Short names of published checkpoints, behind `--model NAME`: families name theirs.

Licences are those that a model card was seen to state; where none was seen the table says so. The
card on the Hub is what counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dawn_models import FAMILIES, Family, Told, family_named

ASK_THE_CARD = "see the model card"
"""Stands where the licence is not known to us."""


UNKNOWN = "-"
"""Stands where a size is not known to us, and where there is no golden data."""


@dataclass(frozen=True, slots=True)
class Alias:
    """A short name of a repository on the Hugging Face Hub.

    Attributes:
        name: What one types.
        repository: Its id on the Hub.
        family: The family that reads it, as in `dawn_models.ModelConfig.family`.
        licence: What the model card states, or `ASK_THE_CARD`.
        size: Parameters, such as `0.6B`, or `UNKNOWN`.
        usual_block: Tokens in a block, where its configuration may not say so.
    """

    name: str
    repository: str
    family: str
    licence: str = ASK_THE_CARD
    size: str = UNKNOWN
    usual_block: int | None = None

    @property
    def known_licence(self) -> bool:
        """Whether the licence is known to us."""
        return self.licence != ASK_THE_CARD


def aliases_of(families: Iterable[Family]) -> dict[str, Alias]:
    """The releases of some families, by what one types."""
    return {
        one.name: Alias(
            one.name,
            one.repository,
            family.name,
            one.licence or ASK_THE_CARD,
            one.size or UNKNOWN,
            one.usual_block,
        )
        for family in families
        for one in family.releases
    }


ALIASES: dict[str, Alias] = aliases_of(FAMILIES.values())
"""Every short name, by itself."""


def known_of(repository: str) -> Told:
    """Returns what a repository is known to be, if it is one of the releases.

    Args:
        repository: Its id on the Hub.
    """
    for alias in ALIASES.values():
        if alias.repository == repository:
            return Told(family=alias.family, usual_block=alias.usual_block)
    return Told()


_COLUMNS = ("name", "repository", "family", "size", "licence", "attention", "decoding", "golden")


def alias_table() -> str:
    """Returns the table as text, one alias a line.

    `attention` is what the model sees, `decoding` the policy of its artifacts, and `golden` what
    of the computations of its authors' code the tests of this toolkit have, and meet.
    """
    rows = [_COLUMNS, *map(_row, ALIASES.values())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _row(alias: Alias) -> tuple[str, ...]:
    family = family_named(alias.family)
    return (
        *(alias.name, alias.repository, alias.family, alias.size, alias.licence),
        family.attention,
        _decoding(family),
        family.golden or UNKNOWN,
    )


def _decoding(family: Family) -> str:
    """The policy of its artifacts."""
    return "dawn" if family.decoding is None else family.decoding.policy
