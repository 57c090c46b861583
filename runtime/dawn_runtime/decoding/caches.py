"""Cache strategies: which positions a step computes anew, and whose keys are kept for later ones.

Attention without a causal mask does not care about the order of keys, so a cache is a choice of
positions and the engine never knows which strategy is used. A step is either a full pass, which
feeds every visible position, or a cached one, which feeds some and looks at kept keys of the rest:

    none      every step is a full pass; exact, the reference for every other strategy
    prefix    a cached step feeds the window and all that follows (Fast-dLLM, arXiv 2505.22618)
    dual      a cached step feeds the window alone
    causal    a cached step feeds what is not finished; exact, and only for models that never look
              ahead (`dawn_runtime.decoding.schemes.block_causal`)
    trailing  a cached step feeds the window and the tokens just before it (DSB, arXiv 2602.05992)

Kept keys are as old as the pass that computed them: the tokens around them have changed since,
which makes all but `none` and `causal` approximations. Their own token never differs: a position
whose token changed since its key was computed is fed again, whatever the strategy says.

To add one: a frozen dataclass decorated by `@CACHES.register`; its fields are its options.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding.row import RowState
from dawn_runtime.option_fields import Options, option
from dawn_runtime.registry import Registry

_AT_BLOCK, _NEVER = "block", "never"


@dataclass(frozen=True, slots=True)
class FullPass:
    """What a refresh rule has to know of the last full pass of a row.

    Attributes:
        window: The window then.
        decided: Positions that were decided before it, the given ones not counted.
    """

    window: tuple[int, int]
    decided: int


class Cache(Options, ABC):
    """Decides between full and cached passes, and what they feed and keep.

    Attributes:
        name: Name in the registry.
        rewrites: Whether a cached step keeps the keys of all that it feeds anew, and not only of
            positions whose token has changed.
    """

    __slots__ = ()

    kind: ClassVar[str] = "cache"
    name: ClassVar[str]
    rewrites: ClassVar[bool] = False

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

    @abstractmethod
    def keeps(self, row: RowState, window: tuple[int, int]) -> IntArray:
        """Returns the positions that get a slot in a full pass, int64 [N], ascending."""

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
        return np.zeros(0, dtype=np.int64)


@CACHES.register
@dataclass(frozen=True, slots=True)
class Causal(NoCache):
    """Keeps the keys of what is finished, in models that never look ahead of it.

    What a step feeds is up to a scheme of such models; for all others there is no such key.
    """

    name: ClassVar[str] = "causal"


@dataclass(frozen=True, slots=True)
class _Refreshed(Cache):
    """A strategy whose keys are computed anew now and then.

    Attributes:
        refresh: When the next full pass is due. `block`: when the window has left the window of the
            last one behind. `never`. Or a number n >= 1: when n positions have been decided since;
            1 makes every step a full pass.

    Raises:
        OptionError: The option is none of these.
    """

    refresh: int | str = option(
        _AT_BLOCK,
        1,
        help="commits after which all is computed anew",
        kind=int,
        choices=(_AT_BLOCK, _NEVER),
        unit="number of commits",
    )

    def refreshes(self, row: RowState, window: tuple[int, int], last: FullPass) -> bool:
        """Applies the refresh rule."""
        if isinstance(self.refresh, int):
            return row.decided - last.decided >= self.refresh
        return self.refresh == _AT_BLOCK and window[0] >= last.window[1]

    def keeps(self, row: RowState, window: tuple[int, int]) -> IntArray:
        """Returns what cached steps do not feed; all if the window may move on before the next."""
        positions = np.arange(row.length)
        if self.refresh != _AT_BLOCK:
            return positions
        begin, end = self.recomputed(row, window)
        return np.concatenate([positions[:begin], positions[end:]])


@dataclass(frozen=True, slots=True)
class _Leading(_Refreshed):
    """Such a strategy that may leave out the token before what is recomputed.

    Attributes:
        lead: When a model that predicts the next token is fed the token before what is recomputed:
            `always`, or as long as it is `needed`, which is until the window's first position is
            decided.

    Raises:
        OptionError: An option has a bad value.
    """

    lead: str = option(
        "always",
        help="when the token before is fed, for models that predict the next token",
        choices=("always", "needed"),
    )

    def leads(self, row: RowState, window: tuple[int, int]) -> bool:
        """Applies `lead`."""
        return self.lead == "always" or bool(row.masked[window[0]])


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


@CACHES.register
@dataclass(frozen=True, slots=True)
class Trailing(_Refreshed):
    """Keeps the keys of everything, and computes those around the window anew in every step.

    Made for the window `sliding`: what that has left behind last is fed once more, `before` tokens
    at least, and the keys of all that is fed are kept anew.

    Attributes:
        refresh: As for the others; published is the length of the window.
        before: Tokens before the window that are fed, >= 1.

    Raises:
        OptionError: An option has a bad value.
    """

    name: ClassVar[str] = "trailing"
    rewrites: ClassVar[bool] = True

    refresh: int | str = option(
        32,
        1,
        help="commits after which all is computed anew",
        kind=int,
        choices=(_AT_BLOCK, _NEVER),
        unit="number of commits",
    )
    before: int = option(24, 1, None, "tokens before the window that are computed anew too")

    def recomputed(self, row: RowState, window: tuple[int, int]) -> tuple[int, int]:
        """Returns the window and what is before it."""
        passed = window[0] - row.before_last_step().settled
        return max(window[0] - max(self.before, passed), 0), window[1]

    def leads(self, row: RowState, window: tuple[int, int]) -> bool:
        """Returns False: what is before the window is fed in any case."""
        return False

    def keeps(self, row: RowState, window: tuple[int, int]) -> IntArray:
        """Returns every position."""
        return np.arange(row.length)
