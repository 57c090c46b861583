"""How well a number tells coupled pairs from others: area under the ROC curve, with intervals."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dawn_runtime.arrays import BoolArray, IntArray

RESAMPLES: Final = 400
_TAILS: Final = (0.025, 0.975)

Interval = tuple[float, float]
Values = NDArray[np.float64]


class Ranking:
    """Pairs in the order of a number; weights of their items may then change at little cost.

    Args:
        scores: [N] the number.
        positive: bool [N] whether the pair is coupled.
        items: int64 [N] from which item it comes, from 0 on.
    """

    def __init__(self, scores: NDArray[np.floating], positive: BoolArray, items: IntArray) -> None:
        order = np.argsort(scores, kind="stable")
        ordered = scores[order]
        self._positive, self._items = positive[order], items[order]
        self._first_of_ties = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])

    def area(self, weights: Values | None = None) -> float:
        """Returns the chance that a coupled pair is above one that is not, ties counting half.

        Args:
            weights: float64 [items] how often each item counts; None is once.

        Returns:
            NaN if there are not both kinds.
        """
        each = np.ones(len(self._items)) if weights is None else weights[self._items]
        up = np.add.reduceat(np.where(self._positive, each, 0.0), self._first_of_ties)
        down = np.add.reduceat(np.where(self._positive, 0.0, each), self._first_of_ties)
        pairs = up.sum() * down.sum()
        if not pairs:
            return float("nan")
        return float((up * (np.cumsum(down) - down / 2)).sum() / pairs)

    def interval(self, seed: int = 0) -> Interval:
        """Returns the interval of 95 % of `area`, by drawing items anew; NaN if it has none."""
        count = int(self._items.max()) + 1
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
        areas = np.array([self.area(weights.astype(np.float64)) for weights in drawn])
        areas = areas[~np.isnan(areas)]
        if not len(areas):
            return float("nan"), float("nan")
        low, high = np.quantile(areas, _TAILS)
        return float(low), float(high)
