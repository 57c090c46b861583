"""Stages of decoding that are counted apart: how much is masked, and whether the row is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dawn_runtime.checks import check_integer

MOST_BINS: Final = 1000
"""More shares of the mask ratio than answers have tokens say nothing."""

KINDS = ("unmasked", "masked")
"""What a position of the sequence can be."""


@dataclass(frozen=True, slots=True)
class Strata:
    """Equal shares of the mask ratio, times two kinds of positions.

    The mask ratio is the undecided part of the answer, from 1 at the first step towards 0. Stratum
    ``2 * bin + kind`` holds the rows of that kind at ratios ``bin / bins < ratio <= (bin + 1) /
    bins``; a ratio of 0, a finished answer, is in the first bin.

    Attributes:
        bins: Number of shares, 1 to `MOST_BINS`.

    Raises:
        OptionError: There is no bin, or there are too many.
    """

    bins: int = 5

    def __post_init__(self) -> None:
        check_integer("strata", "bins", self.bins, minimum=1, maximum=MOST_BINS)

    def __len__(self) -> int:
        """Number of strata."""
        return len(KINDS) * self.bins

    def bin_of(self, masked: int, length: int) -> int:
        """Returns the bin of a sequence.

        Args:
            masked: Undecided positions.
            length: Positions of the answer, decided or not, >= 1.
        """
        return max(0, -(-masked * self.bins // length) - 1)

    def of_rows(self, masked: NDArray[np.bool_], length: int) -> NDArray[np.int64]:
        """Returns the stratum of every row, int64 [S].

        Args:
            masked: bool [S], True at undecided positions.
            length: Positions of the answer.
        """
        begin = len(KINDS) * self.bin_of(int(masked.sum()), length)
        strata: NDArray[np.int64] = begin + masked.astype(np.int64)
        return strata

    def bounds(self, stratum: int) -> tuple[float, float]:
        """Returns the lowest and the highest mask ratio of a stratum."""
        number = stratum // len(KINDS)
        return number / self.bins, (number + 1) / self.bins

    def is_masked(self, stratum: int) -> bool:
        """Tells whether the rows of a stratum are masked positions."""
        return KINDS[stratum % len(KINDS)] == "masked"

    def name(self, stratum: int) -> str:
        """Name for people, such as `masked 0.8-1.0`."""
        low, high = self.bounds(stratum)
        return f"{KINDS[stratum % len(KINDS)]} {low:.1f}-{high:.1f}"
