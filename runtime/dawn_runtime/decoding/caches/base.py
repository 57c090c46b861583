"""What a cache strategy is, and the two that keep nothing of what may still change."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from dawn_runtime.arrays import BoolArray, IntArray
from dawn_runtime.decoding.ask import nothing
from dawn_runtime.decoding.row import RowState
from dawn_runtime.option_fields import Options
from dawn_runtime.policies import Needs, RowView
from dawn_runtime.policies.base import READS_NOTHING
from dawn_runtime.registry import Registry


@dataclass(frozen=True, slots=True)
class FullPass:
    """What a refresh rule has to know of the last full pass of a row.

    Attributes:
        window: The window then.
        decided: Positions that were decided before it, the given ones not counted.
        hidden: int64 [n] positions that are kept once they are in sight, which they were not then.
        seen: What `Cache.watch` has returned last, None if nothing.
    """

    window: tuple[int, int]
    decided: int
    hidden: IntArray = field(default_factory=nothing, compare=False)
    seen: Any = field(default=None, compare=False)


class Cache(Options, ABC):
    """Decides between full and cached passes, and what they feed and keep.

    Attributes:
        name: Name in the registry.
        rewrites: Whether a cached step keeps the keys of all that it feeds anew, and not only of
            positions whose token has changed.
        selects: Whether a cached step may leave candidates out; what it does not predict waits.
    """

    __slots__ = ()

    kind: ClassVar[str] = "cache"
    name: ClassVar[str]
    rewrites: ClassVar[bool] = False
    selects: ClassVar[bool] = False

    @property
    def needs(self) -> Needs:
        """What `watch` reads of a step, besides what the rule reads."""
        return READS_NOTHING

    def watch(self, row: RowState, view: RowView, kept: IntArray, last: FullPass) -> Any:
        """Returns what `refreshes` and `renewed` have to know of a step.

        Called after every step of a row that keeps something, full passes too.

        Args:
            row: The row before the step.
            view: The row after the step's run of the engine.
            kept: int64 [N] positions that were looked at through kept keys, none in a full pass.
            last: The last full pass, which may be this step; its `seen` is the last answer, None
                in a full pass.
        """
        return None

    @abstractmethod
    def refreshes(self, row: RowState, window: tuple[int, int], last: FullPass) -> bool:
        """Tells whether the next step of an unfinished row is a full pass.

        Asked only when the row keeps something; without that every step is one.

        Args:
            row: The row.
            window: Its window, as from `Window.span`.
            last: The last full pass.
        """

    @abstractmethod
    def recomputed(self, row: RowState, window: tuple[int, int]) -> tuple[int, int]:
        """Returns the first position that a cached step feeds and the one after the last.

        It must cover the window. Positions without a key of their present token are fed besides.
        """

    def feeds(self, row: RowState, window: tuple[int, int]) -> BoolArray:
        """Tells which positions a cached step feeds, bool [L]; those without such a key besides.

        The candidates must be among them, and the rows that predict them; of a strategy that
        selects, some of these.
        """
        fed = np.zeros(row.length, dtype=bool)
        first, after = self.recomputed(row, window)
        lead = row.shift if self.leads(row, window) else 0
        fed[max(first - lead, 0) : after] = True
        return fed

    def renewed(
        self, row: RowState, window: tuple[int, int], fed: BoolArray, last: FullPass
    ) -> IntArray:
        """Returns what a cached step feeds and keeps anew besides what has changed; int64 [n].

        What of it is not in sight is not fed.

        Args:
            row: The row.
            window: First position of the window, and the one behind it.
            fed: bool [L] what the step feeds, as from `feeds`.
            last: The last full pass.
        """
        return nothing()

    def predicts_known(self) -> bool:
        """Tells whether a cached step predicts more than candidates, for rules that read it."""
        return True

    @abstractmethod
    def keeps(self, row: RowState, window: tuple[int, int]) -> IntArray:
        """Returns the positions whose keys are kept from a full pass on, int64 [N], ascending.

        Those in sight get a slot in it, and the others where they come into sight.
        """

    def leads(self, row: RowState, window: tuple[int, int]) -> bool:
        """Tells whether a cached step feeds the token before what it recomputes.

        Asked for models that predict the next token, whose first position is predicted there.
        """
        return True


CACHES: Registry[Cache] = Registry("cache", Cache)
"""All cache strategies by name."""


@CACHES.register
@dataclass(frozen=True, slots=True)
class NoCache(Cache):
    """Feeds every visible position at every step."""

    name: ClassVar[str] = "none"

    def refreshes(self, row: RowState, window: tuple[int, int], last: FullPass) -> bool:
        """Returns True."""
        return True

    def recomputed(self, row: RowState, window: tuple[int, int]) -> tuple[int, int]:
        """Returns the whole row."""
        return 0, row.length

    def keeps(self, row: RowState, window: tuple[int, int]) -> IntArray:
        """Returns nothing."""
        return nothing()


@CACHES.register
@dataclass(frozen=True, slots=True)
class Causal(NoCache):
    """Keeps the keys of what is finished, in models that never look ahead of it.

    What a step feeds is up to a scheme of such models; for all others there is no such key.
    """

    name: ClassVar[str] = "causal"
