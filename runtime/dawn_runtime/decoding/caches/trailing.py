"""A strategy for a window that slides: what it has passed last is computed anew, too."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding.caches.base import CACHES
from dawn_runtime.decoding.caches.refreshed import WHEN, Refreshed
from dawn_runtime.decoding.row import RowState
from dawn_runtime.option_fields import option


@CACHES.register
@dataclass(frozen=True, slots=True)
class Trailing(Refreshed):
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
        choices=WHEN,
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
