"""Which rules are compared, and by what names; their strengths are those of `dawn-calibrate`.

A rule that is registered has a line of `LINES`; one that is not worth a line is in `LEFT_OUT` with
its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from dawn_calibration.thresholds.strengths import LINES, Line, Setting

__all__ = ["LEFT_OUT", "LINES", "RULES", "Line", "Setting", "settings_of"]

LEFT_OUT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "autoregressive": "it is of models whose text is causal",
        "conv-drawn": "it draws its tokens, so that one run says little; conv is its form without",
        "linear-speculation": "it is of models whose text is causal",
        "self-verify": "it is of models that decide block by block",
    }
)
"""Rules that are registered and not compared, each with the reason."""

RULES: Final = tuple(line.rule for line in LINES)
"""What the rules are called here."""


def settings_of(rules: tuple[str, ...]) -> tuple[Setting, ...]:
    """Returns all settings of some rules, in the order of the table."""
    return tuple(one for line in LINES if line.rule in rules for one in line.settings())
