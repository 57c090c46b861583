"""Strategies that compute the window anew in every step: `prefix` and `dual`."""

from dataclasses import dataclass, replace
from typing import ClassVar, Final

import numpy as np

from dawn_runtime.arrays import BoolArray, IntArray
from dawn_runtime.decoding.ask import nothing
from dawn_runtime.decoding.caches.base import CACHES, FullPass
from dawn_runtime.decoding.caches.refreshed import DRIFT, Refreshed, Seen
from dawn_runtime.decoding.caches.tracked import most_attended
from dawn_runtime.decoding.row import RowState
from dawn_runtime.option_fields import option
from dawn_runtime.policies import Needs, RowView
from dawn_runtime.policies.base import READS_NOTHING

_ALL: Final = "all"
_UNDECIDED: Final = "undecided"
_CANDIDATES: Final = "candidates"


@dataclass(frozen=True, slots=True)
class _Leading(Refreshed):
    """Such a strategy that may leave out what is known already.

    Attributes:
        lead: When a model that predicts the next token is fed the token before what is recomputed:
            `always`, or as long as it is `needed`, which is until the window's first position is
            decided.
        feed: What of that is fed: `all`, or what is `undecided`. Then a decided position is fed
            once more, in the step after its decision, and keeps the key of that step; where the
            next token is predicted, the token before an undecided one is fed besides, and keeps
            the key of the last step in which it was.
        head: What a cached step predicts: `all` that the rule reads, or the `candidates` alone; a
            rule that reads more gets the confidence that was last computed.
        track: How many known positions a cached step computes anew besides: of those that it would
            not feed, the ones that drew most attention in the step before. See
            `dawn_runtime.decoding.caches.tracked`.

    Raises:
        OptionError: An option has a bad value.
    """

    lead: str = option(
        "always",
        help="when the token before is fed, for models that predict the next token",
        choices=("always", "needed"),
    )
    feed: str = option(
        _ALL, help="what of the recomputed positions is fed", choices=(_ALL, _UNDECIDED)
    )
    head: str = option(
        _ALL, help="what a cached step predicts of what the rule reads", choices=(_ALL, _CANDIDATES)
    )
    track: int = option(0, 0, None, "most attended kept keys that a cached step computes anew")

    @property
    def needs(self) -> Needs:
        """The attention of the candidates, to see it drift and whom it is paid to."""
        reads = self.track > 0 or self.refresh == DRIFT
        return Needs(evidence="candidates") if reads else READS_NOTHING

    def watch(self, row: RowState, view: RowView, kept: IntArray, last: FullPass) -> Seen | None:
        """Returns how the attention has moved, and who draws most of it."""
        seen = Refreshed.watch(self, row, view, kept, last)
        if not self.track:
            return seen
        eligible = ~view.masked & ~self.feeds(row, view.window)
        return replace(seen or Seen(), tracked=most_attended(view, eligible, self.track))

    def renewed(
        self, row: RowState, window: tuple[int, int], fed: BoolArray, last: FullPass
    ) -> IntArray:
        """Returns what is tracked, and what is fed for its prediction alone."""
        seen: Seen | None = last.seen
        tracked = nothing() if seen is None else seen.tracked
        if self.feed == _ALL or not row.shift:
            return tracked
        led = (fed & ~row.masked).nonzero()[0]
        return np.concatenate([tracked, led]) if tracked.size else led

    def leads(self, row: RowState, window: tuple[int, int]) -> bool:
        """Applies `lead`."""
        return self.lead == "always" or bool(row.masked[window[0]])

    def feeds(self, row: RowState, window: tuple[int, int]) -> BoolArray:
        """Applies `feed`; the token before an undecided one is fed as long as it is needed."""
        if self.feed == _ALL:
            return Refreshed.feeds(self, row, window)
        first, after = self.recomputed(row, window)
        undecided = first + row.masked[first:after].nonzero()[0]
        fed = np.zeros(row.length, dtype=bool)
        fed[undecided] = True
        fed[np.maximum(undecided - row.shift, 0)] = True
        return fed

    def predicts_known(self) -> bool:
        """Applies `head`."""
        return self.head == _ALL

    def keeps(self, row: RowState, window: tuple[int, int]) -> IntArray:
        """Returns what some cached step does not feed."""
        if self.feed == _ALL:
            return Refreshed.keeps(self, row, window)
        return np.arange(row.length)


@CACHES.register
@dataclass(frozen=True, slots=True)
class Prefix(_Leading):
    """Keeps the keys of everything before the window."""

    name: ClassVar[str] = "prefix"

    def recomputed(self, row: RowState, window: tuple[int, int]) -> tuple[int, int]:
        """Returns the window and all that follows."""
        return window[0], row.length


@CACHES.register
@dataclass(frozen=True, slots=True)
class Dual(_Leading):
    """Keeps the keys of everything before and after the window."""

    name: ClassVar[str] = "dual"

    def recomputed(self, row: RowState, window: tuple[int, int]) -> tuple[int, int]:
        """Returns the window."""
        return window
