"""Histograms of magnitudes whose bins never have to be chosen.

The bin of a magnitude is made of the top bits of its float32: the exponent and `_MANTISSA_BITS` of
the mantissa. So every power of two is cut into 32 equal bins, each 1.6 to 3.1 % wide, from 2^-30 to
2^30; smaller magnitudes and zero are in the first bin, larger ones in the last. All histograms have
the same bins, and putting two together is adding them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_MANTISSA_BITS: Final = 5
_LOWEST_EXPONENT: Final = -30
_HIGHEST_EXPONENT: Final = 30
_BIAS: Final = 127

SHIFT: Final = 23 - _MANTISSA_BITS
"""Bits of a float32 to the right of those that make the bin."""

OFFSET: Final = (_LOWEST_EXPONENT + _BIAS) << _MANTISSA_BITS
"""What remains of 2^-30 after the shift, the number of the first bin."""

BINS: Final = (_HIGHEST_EXPONENT - _LOWEST_EXPONENT) << _MANTISSA_BITS
"""Number of bins."""


def edges() -> NDArray[np.float64]:
    """Returns the bounds of the bins, float64 [BINS + 1], ascending; the first one is 0."""
    parts = np.arange(BINS + 1)
    exponents = _LOWEST_EXPONENT + (parts >> _MANTISSA_BITS)
    mantissas = 1 + (parts & ((1 << _MANTISSA_BITS) - 1)) / (1 << _MANTISSA_BITS)
    bounds: NDArray[np.float64] = np.ldexp(mantissas, exponents)
    bounds[0] = 0.0
    return bounds


def even_mixture(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mixes strata so that each of them counts the same, however many rows it has.

    Args:
        counts: int64 [T, BINS], one histogram for each stratum; at least one is not empty.

    Returns:
        float64 [BINS] with sum 1; empty strata are left out.
    """
    totals = counts.sum(axis=1)
    seen = counts[totals > 0] / totals[totals > 0, None]
    mixture: NDArray[np.float64] = seen.mean(axis=0)
    return mixture
