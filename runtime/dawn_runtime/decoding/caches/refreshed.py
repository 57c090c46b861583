"""When kept keys are computed anew, for strategies whose keys grow old."""

from dataclasses import KW_ONLY, dataclass, field
from typing import Final

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding.ask import nothing
from dawn_runtime.decoding.caches.base import Cache, FullPass
from dawn_runtime.decoding.caches.drift import Drift
from dawn_runtime.decoding.row import RowState
from dawn_runtime.option_fields import option
from dawn_runtime.policies import Needs, RowView
from dawn_runtime.policies.base import READS_NOTHING

AT_BLOCK: Final = "block"
NEVER: Final = "never"
DRIFT: Final = "drift"
WHEN: Final = (AT_BLOCK, NEVER, DRIFT)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What such strategies have seen of the attention of a step.

    Attributes:
        drift: How it has moved, None if nobody asks.
        tracked: int64 [n] known positions that drew most of it; empty if nobody asks.
    """

    drift: Drift | None = None
    tracked: IntArray = field(default_factory=nothing)


@dataclass(frozen=True, slots=True)
class Refreshed(Cache):
    """A strategy whose keys are computed anew now and then.

    Attributes:
        refresh: When the next full pass is due. `block`: when the window has left the window of the
            last one behind. `never`. `drift`: when the attention that kept keys draw has moved,
            see `dawn_runtime.decoding.caches.drift`. Or a number n >= 1: when n positions have been
            decided since; 1 makes every step a full pass.
        gamma: Least cosine at which `drift` leaves the keys as they are.

    Raises:
        OptionError: The option is none of these.
    """

    refresh: int | str = option(
        AT_BLOCK,
        1,
        help="commits after which all is computed anew",
        kind=int,
        choices=WHEN,
        unit="number of commits",
    )
    _: KW_ONLY  # options of subclasses stay where they are
    gamma: float = option(0.9, 0, 1, "with refresh=drift, least cosine that is no drift")

    @property
    def needs(self) -> Needs:
        """The attention of the candidates, to see it drift."""
        return Needs(evidence="candidates") if self.refresh == DRIFT else READS_NOTHING

    def watch(self, row: RowState, view: RowView, kept: IntArray, last: FullPass) -> Seen | None:
        """Returns how the attention to kept keys has moved."""
        if self.refresh != DRIFT:
            return None
        before: Seen | None = last.seen
        if before is None or before.drift is None:
            return Seen(Drift.begin(view))
        return Seen(before.drift.after(view, kept))

    def refreshes(self, row: RowState, window: tuple[int, int], last: FullPass) -> bool:
        """Applies the refresh rule."""
        if isinstance(self.refresh, int):
            return row.decided - last.decided >= self.refresh
        if self.refresh == DRIFT:
            seen: Seen | None = last.seen
            drift = None if seen is None else seen.drift
            return drift is not None and drift.similarity < self.gamma
        return self.refresh == AT_BLOCK and window[0] >= last.window[1]

    def keeps(self, row: RowState, window: tuple[int, int]) -> IntArray:
        """Returns what cached steps do not feed; all if the window may move on before the next."""
        positions = np.arange(row.length)
        if self.refresh != AT_BLOCK:
            return positions
        begin, end = self.recomputed(row, window)
        return np.concatenate([positions[:begin], positions[end:]])
