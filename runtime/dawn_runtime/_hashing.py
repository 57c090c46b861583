"""Numbers that look random and are a function of integers: the same on every machine."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Hash = NDArray[np.uint64]
"""Unsigned integers that wrap around."""


def mix(values: Hash) -> Hash:
    """Spreads every input bit over all output bits (finaliser of SplitMix64).

    Args:
        values: Integers of any shape.
    """
    mixed: Hash = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def unit(values: Hash) -> NDArray[np.float64]:
    """Maps hashes to [0, 1) in steps of 2^-53.

    Args:
        values: Hashes of any shape.
    """
    fractions: NDArray[Any] = (values >> np.uint64(11)) * 2.0**-53
    return fractions
