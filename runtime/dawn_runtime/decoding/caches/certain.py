"""What a step of `d2` computes: how certain positions are, and who is looked at in the end.

d2Cache (arXiv 2509.23094, ICLR 2026) computes about as many positions in every step, whatever the
length: the undecided ones that are likely to be decided soon, what the last step decided, and the
known ones that matter most. The pieces, each a function here:

    density_i     share of known positions around i, weighted by exp(-d^2 / 2 sigma^2)
    score_i       the confidence last computed at i, times density_i
    importance    column sums of the rollout R = M_n ... M_1 of the attention maps, where
                  M = rownorm(A + 1) and A has a row of its own for what was computed and the row of
                  the identity for the rest (attention rollout, arXiv 2005.00928)
    nucleus       the most important positions that together have a share p of the importance

With the authors the maps are those of all layers. Here there is one, the artifact's evidence, a
mean over heads and a few layers, and it stands for each of the layers.
"""

from math import ceil
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray
from dawn_runtime.policies import RowView

REACH: Final = 4
"""Beyond so many sigma nothing counts for the density: less than a ten thousandth would."""


def certainty_density(masked: BoolArray, positions: IntArray, sigma: float) -> NDArray[np.float64]:
    """Returns how much is known around some positions, float64 [n], 0 to 1.

    Before the row all counts as known, and behind it if the last position is.

    Args:
        masked: bool [L] positions not decided yet.
        positions: int64 [n].
        sigma: Width of what counts as around, in tokens, > 0.
    """
    reach = ceil(REACH * sigma)
    weights = np.exp(-((np.arange(-reach, reach + 1) / sigma) ** 2) / 2)
    behind = np.full(reach, not masked[-1])
    known = np.concatenate([np.ones(reach, dtype=bool), ~masked, behind])
    around = sliding_window_view(known, len(weights))[positions]
    density: NDArray[np.float64] = around @ (weights / weights.sum())
    return density


def most_certain(
    masked: BoolArray,
    window: tuple[int, int],
    confidence: FloatArray,
    count: int,
    sigma: float,
) -> IntArray:
    """Returns the undecided positions of the best scores, those of the window first; int64 [n].

    Behind the window those compete that lie before the end of the window's length in which the
    last of `count` undecided positions stands, counted from its beginning.

    Args:
        masked: bool [L] positions not decided yet.
        window: First position of the window and the one after its last.
        confidence: float32 [L] the confidence last computed, NaN where there was none.
        count: How many at most, >= 1.
        sigma: As in `certainty_density`.
    """
    begin, end = window
    open_ = begin + np.flatnonzero(masked[begin:])
    if len(open_) > count:
        length = end - begin
        whole = (open_[count - 1] - begin) // length + 1
        open_ = open_[open_ < begin + whole * length]
    score = np.nan_to_num(confidence[open_]) * certainty_density(masked, open_, sigma)
    best: IntArray = open_[np.lexsort((-score, open_ >= end))[:count]]
    return best


def importance(view: RowView, layers: int) -> NDArray[np.float64]:
    """Returns the column sums of the rollout, float64 [L]; 0 for what was not in sight.

    Args:
        view: A row after a run of the engine; its evidence has everything that was fed.
        layers: How many maps the rollout goes through, >= 1.
    """
    length, rows = len(view.masked), view.attention_rows
    paid = view.attention.astype(np.float64)
    share = 1 / (1 + paid.sum(axis=1))
    sums = np.zeros(length)
    sums[view.attention_keys] = 1.0
    for _ in range(layers):
        own = sums[rows] * share
        sums[rows] = own
        sums[view.attention_keys] += own @ paid
    return sums


def nucleus(scores: NDArray[np.float64], share: float) -> IntArray:
    """Returns the best positions that together have at most a share of the scores, at least one.

    Equals go by position. None if no score is above 0, or if the share is 0; int64 [n].

    Args:
        scores: float64 [L], 0 for what cannot be chosen.
        share: 0 to 1.
    """
    order = np.argsort(-scores, kind="stable")[: np.count_nonzero(scores)]
    if not share or not order.size:
        return order[:0]
    within = np.cumsum(scores[order]) <= share * scores.sum()
    return order[: max(int(np.count_nonzero(within)), 1)]


def without_gaps(chosen: BoolArray, width: int) -> BoolArray:
    """Returns the same with what lies between two that are at most so far apart, bool [L].

    Args:
        chosen: bool [L].
        width: Distance in tokens; 0 or 1 fills nothing.
    """
    filled: BoolArray = chosen.copy()
    places = np.flatnonzero(chosen)
    near = np.flatnonzero(np.diff(places) <= width)
    for first, last in zip(places[near].tolist(), places[near + 1].tolist(), strict=True):
        filled[first:last] = True
    return filled
