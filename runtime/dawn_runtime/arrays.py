"""Names for the array types that appear in signatures; shapes are in the docstrings there."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
"""Token ids, positions and row numbers."""

BoolArray = NDArray[np.bool_]
"""Masks."""

FloatArray = NDArray[np.float32]
"""Confidence, attention and logits: float32 at every precision of the weights."""

KvArray = NDArray[Any]
"""Cached keys or values, in the kv dtype of the artifact."""


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Returns a view of the array that refuses writing."""
    view: NDArray[Any] = array.view()
    view.setflags(write=False)
    return view


def inverse(positions: IntArray, length: int) -> IntArray:
    """Returns where each position stands in a list of distinct positions.

    Args:
        positions: [N] distinct positions below `length`, in any order.
        length: Number of positions there are.

    Returns:
        int64 [length]: index into `positions`, -1 for positions that are not in it.
    """
    indices = np.full(length, -1, dtype=np.int64)
    indices[positions] = np.arange(len(positions))
    return indices
