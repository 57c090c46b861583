"""Intervals of 95 %: shares by Wilson, their paired differences by Newcombe, costs by resampling.

Shares near 100 % are why they are not resampled: of 200 right answers every resample has 200, and
the interval would have no width. Wilson's has. Newcombe's method 10 makes an interval of the
difference of two shares of the same items from two of Wilson's and their correlation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Z: Final = 1.959964
"""Two-sided 95 % of the normal distribution."""

RESAMPLES: Final = 2000
_TAILS: Final = (0.025, 0.975)

Interval = tuple[float, float]


def wilson(right: int, items: int) -> Interval:
    """Returns the interval of a share.

    Args:
        right: Items answered right.
        items: Items, at least one.
    """
    share, spread = right / items, Z**2 / items
    middle = share + spread / 2
    half = Z * math.sqrt(share * (1 - share) / items + spread / (4 * items))
    low, high = (middle - half) / (1 + spread), (middle + half) / (1 + spread)
    # At the ends the bound is the share itself, which rounding would miss.
    return (0.0 if right == 0 else low), (1.0 if right == items else high)


def difference_of_shares(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> Interval:
    """Returns the interval of the difference of two shares of the same items.

    Args:
        one: bool [n] whether each item is right.
        other: bool [n] the same of what is subtracted.
    """
    items = len(one)
    first, second = one.sum() / items, other.sum() / items
    low_1, high_1 = wilson(int(one.sum()), items)
    low_2, high_2 = wilson(int(other.sum()), items)
    phi = _correlation(one, other)
    down = _combined(first - low_1, high_2 - second, phi)
    up = _combined(high_1 - first, second - low_2, phi)
    return first - second - down, first - second + up


def _combined(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(one**2 - 2 * phi * one * other + other**2, 0.0))


def _correlation(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Phi of two rows of rights and wrongs; one that is positive is corrected for continuity."""
    items = len(one)
    both, neither = int((one & other).sum()), int((~one & ~other).sum())
    only_one, only_other = int((one & ~other).sum()), int((~one & other).sum())
    product = math.prod(
        (both + only_one, only_other + neither, both + only_other, only_one + neither)
    )
    if not product:
        return 0.0
    excess = float(both * neither - only_one * only_other)
    return (max(excess - items / 2, 0.0) if excess > 0 else excess) / math.sqrt(product)


@dataclass(frozen=True, eq=False)
class Resampled:
    """Means of several rows of numbers about the same items, and of their resamples.

    Attributes:
        means: float64 [S] of the rows.
        drawn: float64 [R, S] means of each resample; the items drawn are the same for all rows, so
            that rows are compared pair by pair.
    """

    means: NDArray[np.float64]
    drawn: NDArray[np.float64]

    @classmethod
    def of(
        cls, rows: Sequence[Sequence[float]], parts: Sequence[int] | None = None, seed: int = 0
    ) -> Resampled:
        """Draws resamples of the items, or of parts of them that belong together.

        Args:
            rows: S rows of n numbers.
            parts: Number of the part of each item, from 0 on; None makes a part of each.
            seed: Of the draw.
        """
        values = np.asarray(rows, dtype=np.float64)
        place = np.arange(values.shape[1]) if parts is None else np.asarray(parts)
        count = int(place.max()) + 1
        rng = np.random.default_rng(seed)
        times = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)[:, place]
        return cls(values.mean(axis=1), times @ values.T / times.sum(axis=1, keepdims=True))

    def interval(self, row: int) -> Interval:
        """Returns the interval of the mean of a row."""
        return _tails(self.drawn[:, row])

    def difference(self, one: int, other: int) -> Interval:
        """Returns the interval of the difference of the means of two rows."""
        return _tails(self.drawn[:, one] - self.drawn[:, other])


def _tails(values: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(values, _TAILS)
    return float(low), float(high)
