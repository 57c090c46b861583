"""How large a magnitude the integers have to represent: three rules over a histogram.

==============  ====================================================================================
max             the largest magnitude that was seen; nothing is clipped
percentile      the magnitude that a share of all values does not exceed
mse             the clip c with the least mean square error of rounding to ``step = c / 127`` and
                clipping at c: a value v of the histogram costs (v - c)^2 above c, step^2 / 12 where
                the integers lie around it, and v^2 where it is rounded to zero
==============  ====================================================================================

Smaller magnitudes get finer steps for it. No rule gives more than the largest magnitude.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dawn_calibration.ranges.histogram import edges
from dawn_runtime.checks import check_choice, check_number

CLIPS: Final = ("max", "percentile", "mse")
LEVELS: Final = 127
"""Largest integer of a symmetric INT8 range."""

_SMALLEST_RANGE = 1e-8
"""Range of an input that is always zero: any would do, but it must not be zero itself."""
_SMALLEST_SHARE = 1 / 64
"""The search for the least error ends at this share of the largest magnitude: two bits lost from
every value that is not clipped is beyond any sensible trade."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One of the three rules.

    Attributes:
        rule: One of `CLIPS`.
        percentile: Share in percent, for `percentile` alone.

    Raises:
        OptionError: The rule does not exist, or the share is out of range.
    """

    rule: str = "max"
    percentile: float = 99.99

    def __post_init__(self) -> None:
        check_choice("clip", "rule", self.rule, CLIPS)
        check_number("clip", "percentile", self.percentile, minimum=50.0, maximum=100.0)

    def range_of(self, shares: NDArray[np.float64], largest: float) -> float:
        """Returns the largest magnitude to represent, > 0.

        Args:
            shares: float64 [BINS] with sum 1, as from `even_mixture`.
            largest: The largest magnitude seen.
        """
        found = largest
        if self.rule == "percentile":
            found = percentile_range(shares, self.percentile)
        elif self.rule == "mse":
            found = least_error_range(shares, largest)
        return max(min(found, largest), _SMALLEST_RANGE)


def percentile_range(shares: NDArray[np.float64], percentile: float) -> float:
    """Returns the upper bound of the bin in which the cumulated share reaches the percentile.

    Args:
        shares: float64 [BINS] with sum 1.
        percentile: Share in percent.
    """
    reached = np.cumsum(shares) >= percentile / 100 - 1e-12  # what sums of shares lose to rounding
    return float(edges()[1 + int(reached.argmax())]) if reached.any() else float(edges()[-1])


def least_error_range(shares: NDArray[np.float64], largest: float) -> float:
    """Returns the bound of a bin, or `largest`, with the least error of the module's third rule.

    Args:
        shares: float64 [BINS] with sum 1.
        largest: The largest magnitude seen.
    """
    bounds = edges()
    candidates = bounds[(bounds > largest * _SMALLEST_SHARE) & (bounds < largest)]
    candidates = np.append(candidates, largest)
    return float(candidates[np.argmin([clip_error(shares, clip) for clip in candidates])])


def clip_error(shares: NDArray[np.float64], clip: float) -> float:
    """Mean square error of representing the values of a histogram by integers up to a clip.

    Args:
        shares: float64 [BINS] with sum 1; a bin stands for its middle.
        clip: Largest magnitude represented, > 0.
    """
    bounds = edges()
    values, step = (bounds[1:] + bounds[:-1]) / 2, clip / LEVELS
    errors = np.full(len(values), step**2 / 12)
    errors[values < step / 2] = values[values < step / 2] ** 2
    errors[values > clip] = (values[values > clip] - clip) ** 2
    return float(shares @ errors)
