"""Strategies that compute the window anew in every step: `prefix` and `dual`."""

from dataclasses import dataclass
from typing import ClassVar

from dawn_runtime.decoding.caches.base import CACHES
from dawn_runtime.decoding.caches.refreshed import Refreshed
from dawn_runtime.decoding.row import RowState
from dawn_runtime.option_fields import option


@dataclass(frozen=True, slots=True)
class _Leading(Refreshed):
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
