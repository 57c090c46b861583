"""CLAD: neighbours go together, clusters that lean on each other do not (arXiv 2605.29607, 2026).

What reaches a low threshold, and the most confident candidate in any case, is open for commitment;
a run of such positions without a gap is a cluster. With A the attention evidence among them,

    s_ij = max(A_ij, A_ji)                            what two positions have to do with each other
    g_ab = max over i in a of mean over j in b of s_ij
    G_ab = max(g_ab, g_ba)                            the same of two clusters

Two clusters conflict when each is the strongest partner of the other and, among K >= 3 clusters,
G_ab is at least the mean of both their rows, itself left out. Of K = 2 it must be at least
`spread` / N, N being the size of an evenly spread row. A cluster has one such partner at most, so
of a pair the longer one is committed, the first of equals, and every other cluster whole.

`even_over` says what N counts. `window`: the positions of the window, as the published code for
LLaDA, which cuts the attention to the block. `sequence`: every key that is looked at, as the
published code for Dream, which does not; the bound is then lower and more pairs conflict.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray, inverse
from dawn_runtime.option_fields import option
from dawn_runtime.policies.base import POLICIES, Needs, Policy, RowView
from dawn_runtime.policies.threshold import Threshold

_SPREAD_LIMIT = 1e6


@POLICIES.register
@dataclass(frozen=True, slots=True)
class Clad(Policy):
    """Commits clusters of candidates, of two that conflict the longer one.

    Published thresholds, GSM8K, MATH, HumanEval and MBPP: LLaDA-8B-Instruct 0.70, 0.70, 0.75, 0.75;
    LLaDA-1.5 0.73, 0.70, 0.75, 0.73; Dream-Instruct 0.75, 0.70, 0.71, 0.70; Dream-Base 0.75, 0.70,
    0.71 to 0.73, 0.75. Blocks of 32; for Dream `even_over` is `sequence`.

    Attributes:
        threshold: Least confidence of what is open for commitment.
        spread: How many times as much as evenly spread attention makes two clusters conflict when
            there are no others.
        even_over: `window` or `sequence`; see the module.

    Raises:
        OptionError: An option is out of range.
    """

    name: ClassVar[str] = "clad"
    needs: ClassVar[Needs] = Needs(evidence="candidates")

    threshold: float = option(0.70, 0, 1, "least confidence of what is open for commitment")
    spread: float = option(
        1.2, 0, _SPREAD_LIMIT, "multiple of even attention at which two lone clusters conflict"
    )
    even_over: str = option(
        "window", help="what attention is even over", choices=("window", "sequence")
    )

    def short_form(self) -> Policy:
        """Returns the threshold rule: what is left of CLAD without its graph."""
        return Threshold(self.threshold)

    def select(self, view: RowView) -> IntArray:
        """Chooses the clusters that conflict with no longer one."""
        confidence = view.confidence[view.candidates]
        ready = confidence >= self.threshold
        ready[int(np.argmax(confidence))] = True
        positions: IntArray = view.candidates[ready]
        cluster = np.concatenate([[0], np.cumsum(np.diff(positions) > 1)])
        lengths = np.bincount(cluster)
        if len(lengths) == 1:
            return positions
        scores = _between(_mutual(view, positions), cluster, lengths)
        kept: IntArray = positions[_kept(self._conflicts(view, scores), lengths)[cluster]]
        return kept

    def _conflicts(self, view: RowView, scores: FloatArray) -> BoolArray:
        """Which clusters exclude each other, [K, K]; each has one such partner at most."""
        count = len(scores)
        first = np.zeros_like(scores, dtype=bool)
        first[np.arange(count), scores.argmax(axis=1)] = True
        if count > 2:
            means = scores.sum(axis=1) / np.float32(count - 1)
            strong: BoolArray = (scores >= means[:, None]) & (scores >= means)
        else:
            strong = scores >= self.spread / self._even(view)
        conflicts: BoolArray = first & first.T & strong
        np.fill_diagonal(conflicts, val=False)
        return conflicts

    def _even(self, view: RowView) -> int:
        if self.even_over == "window":
            return view.window[1] - view.window[0]
        return len(view.attention_keys)


def _mutual(view: RowView, positions: IntArray) -> FloatArray:
    """The greater of the attention of two positions to each other, [n, n], 0 on the diagonal."""
    length = len(view.masked)
    rows = inverse(view.attention_rows, length)[positions]
    columns = inverse(view.attention_keys, length)[positions]
    attention = view.attention[np.ix_(rows, columns)]
    scores: FloatArray = np.maximum(attention, attention.T)
    np.fill_diagonal(scores, 0)
    return scores


def _between(scores: FloatArray, cluster: IntArray, lengths: IntArray) -> FloatArray:
    """How much clusters have to do with each other, [K, K], 0 on the diagonal.

    Args:
        scores: [n, n] the same of positions, in the order of their clusters.
        cluster: int64 [n] number of the cluster of each.
        lengths: int64 [K] positions of each cluster.
    """
    starts = np.flatnonzero(np.concatenate([[True], np.diff(cluster) > 0]))
    means = np.add.reduceat(scores, starts, axis=1) / lengths.astype(np.float32)
    strongest = np.maximum.reduceat(means, starts, axis=0)
    both: FloatArray = np.maximum(strongest, strongest.T)
    np.fill_diagonal(both, 0)
    return both


def _kept(conflicts: BoolArray, lengths: IntArray) -> BoolArray:
    """Which clusters stay when of each pair the longer one does, the first of equals; [K]."""
    numbers = np.arange(len(lengths))
    longer = lengths[None, :] > lengths[:, None]
    before = (lengths[None, :] == lengths[:, None]) & (numbers[None, :] < numbers[:, None])
    kept: BoolArray = ~(conflicts & (longer | before)).any(axis=1)
    return kept
