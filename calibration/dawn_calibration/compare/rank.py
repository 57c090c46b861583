"""Rank correlation: whether two rows of evidence order the keys alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dawn_runtime.arrays import FloatArray


def ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Returns the rank of every value, from 0; equal values share the mean of their ranks.

    Args:
        values: [n] numbers, none of them NaN.
    """
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    before = np.cumsum(counts) - counts
    shared: NDArray[np.float64] = (before + (counts - 1) / 2)[places]
    return shared


def spearman(left: FloatArray, right: FloatArray) -> float | None:
    """Returns the correlation of the ranks of two rows, -1 to 1.

    Args:
        left: [n] numbers.
        right: [n] numbers.

    Returns:
        None if a row is constant, where no order is to be compared.
    """
    a, b = ranks(left), ranks(right)
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread else None
