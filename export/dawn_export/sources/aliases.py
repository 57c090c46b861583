"""Short names of published checkpoints: the one table behind `--model NAME`.

Licences are those that a model card was seen to state; where none was seen the table says so. The
card on the Hub is what counts.
"""

from __future__ import annotations

from dataclasses import dataclass

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


ALIASES: dict[str, Alias] = {
    alias.name: alias
    for alias in (
        Alias("dream", "Dream-org/Dream-v0-Instruct-7B", "dream", "Apache-2.0"),
        Alias("dream-base", "Dream-org/Dream-v0-Base-7B", "dream"),
        Alias("dream-coder", "Dream-org/Dream-Coder-v0-Instruct-7B", "dream"),
        Alias("diffucoder", "apple/DiffuCoder-7B-cpGRPO", "dream"),
        Alias("llada", "GSAI-ML/LLaDA-8B-Instruct", "llada", "MIT"),
        Alias("llada-base", "GSAI-ML/LLaDA-8B-Base", "llada"),
        Alias("llada-1.5", "GSAI-ML/LLaDA-1.5", "llada", "MIT"),
    )
}
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
