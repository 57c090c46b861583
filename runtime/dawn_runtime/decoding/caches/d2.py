"""A strategy that chooses by certainty and attention what a step computes: `d2`."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray
from dawn_runtime.decoding.caches.base import CACHES, FullPass
from dawn_runtime.decoding.caches.certain import (
    importance,
    most_certain,
    nucleus,
    without_gaps,
)
from dawn_runtime.decoding.caches.refreshed import NEVER, WHEN, Refreshed, Seen
from dawn_runtime.decoding.row import RowState
from dawn_runtime.option_fields import option
from dawn_runtime.policies import Needs, RowView

_NARROWEST, _WIDEST = 0.01, 1000.0
_DEEPEST = 1024


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Known(Seen):
    """What the strategy has seen of a row.

    Attributes:
        confidence: float32 [L] the confidence last computed, NaN where there was none.
        importance: float64 [L] column sums of the rollout of the last step.
    """

    confidence: FloatArray
    importance: NDArray[np.float64]

    @classmethod
    def of(cls, view: RowView, before: "Known | None", layers: int, seen: Seen) -> "Known":
        """Returns it after a step.

        Args:
            view: The row after the step's run.
            before: What was seen up to then since the last full pass, None in one.
            layers: How many layers the rollout goes through.
            seen: How attention has moved.
        """
        none = np.full(len(view.masked), np.nan, dtype=np.float32)
        confidence = none if before is None else before.confidence.copy()
        confidence[view.predicted] = view.confidence[view.predicted]
        return cls(confidence=confidence, importance=importance(view, layers), drift=seen.drift)


@CACHES.register
@dataclass(frozen=True, slots=True)
class D2(Refreshed):
    """Computes what is likely to be decided soon, what was decided last and what matters most.

    Keys of all that is computed are kept anew. Undecided positions of the window that a step leaves
    out cannot be decided in it. See `dawn_runtime.decoding.caches.certain`; the defaults are those
    published for LLaDA and Dream, there without a full pass after the first. Where the next token
    is predicted the authors compute the token before a chosen position and not the position itself;
    here it is both, as rules look at its attention.

    Attributes:
        refresh: As for the others.
        current_k: Undecided positions that a cached step computes, those of the window first.
        rollout_p: Share of the importance whose positions are computed besides; 0 is none.
        sigma: Width in tokens of what makes a position certain; a smaller one goes more from the
            left to the right.
        inflate_w: Gaps between what is computed are filled where it is so few tokens apart; 4 is
            published for blocks.
        layers: Layers that the rollout goes through, each with the same attention; 1 is the
            attention that a position draws.

    Raises:
        OptionError: An option has a bad value.
    """

    name: ClassVar[str] = "d2"
    rewrites: ClassVar[bool] = True
    selects: ClassVar[bool] = True

    refresh: int | str = option(
        NEVER,
        1,
        help="commits after which all is computed anew",
        kind=int,
        choices=WHEN,
        unit="number of commits",
    )
    current_k: int = option(32, 1, None, "undecided positions that a cached step computes")
    rollout_p: float = option(0.1, 0, 1, "share of the rollout that it computes besides")
    sigma: float = option(10.0, _NARROWEST, _WIDEST, "width of what makes a position certain")
    inflate_w: int = option(0, 0, None, "distance at which gaps are filled")
    layers: int = option(1, 1, _DEEPEST, "layers that the rollout goes through")

    @property
    def needs(self) -> Needs:
        """The attention of all that is fed, and predictions behind the window."""
        return Needs(evidence="fed", later_predictions=True)

    def watch(self, row: RowState, view: RowView, kept: IntArray, last: FullPass) -> Known:
        """Returns confidences and importance after the step."""
        seen = Refreshed.watch(self, row, view, kept, last)
        return Known.of(view, last.seen, self.layers, seen or Seen())

    def recomputed(self, row: RowState, window: tuple[int, int]) -> tuple[int, int]:
        """Returns the window, some of which is left out."""
        return window

    def feeds(self, row: RowState, window: tuple[int, int]) -> BoolArray:
        """Returns nothing: it all is `renewed`."""
        return np.zeros(row.length, dtype=bool)

    def renewed(
        self, row: RowState, window: tuple[int, int], fed: BoolArray, last: FullPass
    ) -> IntArray:
        """Returns the rows of the most certain, what was decided last, and what matters most."""
        known: Known = last.seen
        best = most_certain(row.masked, window, known.confidence, self.current_k, self.sigma)
        chosen = np.zeros(row.length, dtype=bool)
        chosen[best] = True
        chosen[np.maximum(best - row.shift, 0)] = True
        chosen[row.commit_step == row.step - 1] = True
        chosen[nucleus(np.where(chosen, 0.0, known.importance), self.rollout_p)] = True
        return np.flatnonzero(without_gaps(chosen, self.inflate_w))

    def keeps(self, row: RowState, window: tuple[int, int]) -> IntArray:
        """Returns every position."""
        return np.arange(row.length)
