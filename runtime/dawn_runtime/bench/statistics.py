"""Statistics of what is timed in turns: an interval of a median, quantiles, and who begins.

Paired measurements are compared turn by turn: whatever slows the machine down slows both, so that
the ratio within a turn is steadier than either time. The interval is that of the sign test, between
two of the values in their order; it holds for every distribution of independent turns.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np

SURE: Final = 0.95
"""How sure an interval is at least, of enough values."""

FEWEST: Final = 6
"""Turns from which on an interval is that sure: 2 * 0.5 ** 6 is 3 %."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of several times, in their unit.

    Attributes:
        p50: The median.
        p90: Nine in ten are at most this.
        p99: Ninety-nine in a hundred are at most this.
    """

    p50: float
    p90: float
    p99: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Quantiles":
        """Returns those of at least one value, interpolated between neighbours."""
        return cls(*map(float, np.quantile(values, (0.5, 0.9, 0.99))))


def interval(values: Sequence[float], share: float = SURE) -> tuple[float, float]:
    """Between which of the values the median lies, whatever their distribution.

    Args:
        values: At least one.
        share: How sure that is at least; of too few values both are the outermost.
    """
    ordered, number = sorted(values), len(values)
    outside = accumulate(2 * math.comb(number, left_out) / 2**number for left_out in range(number))
    fitting = [left_out for left_out, missed in enumerate(outside) if 1 - missed >= share]
    left_out = max(fitting, default=0)
    return ordered[left_out], ordered[number - 1 - left_out]


def rotated(length: int, number: int) -> list[int]:
    """Places 0 to `length` - 1, a turn of this number beginning with another than the one before.

    Args:
        length: How many.
        number: Of the turn.
    """
    first = number % length
    return [*range(first, length), *range(first)]
