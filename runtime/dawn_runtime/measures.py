"""Entropy and margin of predictions from their logits, in NumPy.

Graphs compute them too (`dawn_runtime.contract.MEASURES`); this is for graphs that do not. A logit
of minus infinity counts as a probability of zero.

    three equal logits      entropy ln 3 = 1.0986, margin 0
    2, 1 and minus infinity shares 0.731 and 0.269: entropy 0.5822, margin 1
"""

import numpy as np

from dawn_runtime.arrays import FloatArray


def entropy_of(logits: FloatArray) -> FloatArray:
    """Returns the entropy of the distributions that logits stand for, in nats.

    Args:
        logits: float32 [..., V], one of V at least finite.

    Returns:
        float32 [...].
    """
    below = logits - logits.max(axis=-1, keepdims=True)
    weights = np.exp(below)
    total = weights.sum(axis=-1)
    # H = ln(sum w) - sum(w ln w) / sum w; where a weight is zero, so is its term.
    mean = (weights * np.where(weights > 0, below, 0)).sum(axis=-1) / total
    found: FloatArray = np.log(total) - mean
    return found


def margin_of(logits: FloatArray) -> FloatArray:
    """Returns how far the second best logit is below the best.

    Args:
        logits: float32 [..., V], V >= 1, one of them at least finite.

    Returns:
        float32 [...], infinity where only one is finite.
    """
    if logits.shape[-1] < 2:
        return np.full(logits.shape[:-1], np.inf, dtype=np.float32)
    second, best = np.moveaxis(np.partition(logits, -2, axis=-1)[..., -2:], -1, 0)
    found: FloatArray = best - second
    return found
