"""Thresholds of attention and the length of sequences: what a search can say of both.

`tau_sink` and `tau_edge` of `dawn` are multiplied by ``(reference_length / K) ** length_exponent``
in rows that look at K keys; without a pruned window K is the tokens of prompt and answer together.
The reference is not searched: it only says at which length the thresholds are what they are, which
is the mean length of the prompts they were found on. The exponent shows only where lengths differ;
at 0 the reference has no effect and stays what it was.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dawn_calibration.thresholds.grids import Grid, Options
from dawn_runtime import Dawn
from dawn_runtime.rules import make_rule

EXPONENT: Final = "length_exponent"
REFERENCE: Final = "reference_length"

_ALIKE: Final = 1.25
"""Lengths are alike if the longest is less than this times the shortest: the exponents then give
thresholds that differ by less than two neighbours on the grids."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long sequences are, prompt and answer together, in tokens.

    Attributes:
        shortest: Of the shortest.
        mean: Of all.
        longest: Of the longest.
    """

    shortest: int
    mean: float
    longest: int

    @classmethod
    def of(cls, lengths: Sequence[int]) -> Lengths:
        """Summarises the lengths of at least one sequence."""
        return cls(min(lengths), statistics.mean(lengths), max(lengths))

    @property
    def alike(self) -> bool:
        """Whether they are too alike to tell exponents apart."""
        return self.longest < _ALIKE * self.shortest


def anchored(policy: str, options: Options, lengths: Lengths) -> Options:
    """Returns options that decide the same, with the mean length as their reference.

    Args:
        policy: Name of a policy; all but `dawn` keep their options.
        options: Its options.
        lengths: Of the prompts that will be searched on.

    Raises:
        OptionError: The options do not fit the policy.
    """
    rule = make_rule(policy, options)
    if not isinstance(rule, Dawn):
        return options
    reference = round(lengths.mean)
    tau_sink, tau_edge = rule.attention_thresholds(reference)
    return {
        **rule.options(),
        "tau_sink": min(tau_sink, 1.0),  # as an option; no attention is above 1
        "tau_edge": min(tau_edge, 1.0),
        REFERENCE: reference,
    }


def settled(options: Options, start: Options) -> Options:
    """Returns options that decide the same, with the reference of before where it has no effect.

    Args:
        options: What a search has found from `anchored` ones.
        start: What they were before that.
    """
    if EXPONENT not in options or options[EXPONENT]:
        return options
    return {**options, REFERENCE: start[REFERENCE]}


def searchable(grid: Grid, lengths: Lengths) -> Grid:
    """Returns a grid without the exponent if the lengths cannot tell exponents apart."""
    left_out = {EXPONENT} if lengths.alike else set()
    return {option: values for option, values in grid.items() if option not in left_out}
