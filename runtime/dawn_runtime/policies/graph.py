"""The dependency graph over undecided positions, from attention, in plain NumPy.

DAWN (arXiv 2602.06953) reads attention as dependency: position i depends on position j when i
attends to j strongly enough. Keys that everyone attends to (sinks) say nothing and are left out.
Positions that do not depend on each other can be decided in the same step.

Everything here works on whole rows; the only Python loop runs over candidates, once each.
"""

import numpy as np

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray


def key_means(attention: FloatArray) -> FloatArray:
    """Returns the mean attention that each key draws, [K].

    Args:
        attention: [Q, K] attention of every row of the sequence, each row summing to 1.
    """
    means: FloatArray = np.add.reduce(attention, axis=0)
    means /= max(len(attention), 1)
    return means


def sink_keys(means: FloatArray, tau_sink: float) -> BoolArray:
    """Finds keys that attract attention from everywhere.

    Args:
        means: [K] as from `key_means`.
        tau_sink: A key is a sink if its mean is above this.

    Returns:
        [K], True at sinks.
    """
    return means > tau_sink


def dependencies(
    rows: FloatArray, own_keys: IntArray, sinks: BoolArray, tau_edge: float
) -> BoolArray:
    """Draws the edges "row position depends on key position".

    Args:
        rows: [n, K] attention rows of the positions of interest.
        own_keys: [n] column at which each row meets itself; no position depends on itself.
        sinks: [K] keys that no position depends on.
        tau_edge: Least attention that counts as a dependency, > 0.

    Returns:
        [n, K], True where the row depends on the key.
    """
    edges = rows >= tau_edge
    edges &= ~sinks
    edges[np.arange(len(rows)), own_keys] = False
    return edges


def depends_on_any(edges: BoolArray, keys: BoolArray) -> BoolArray:
    """Tells which rows depend on at least one of the keys.

    Args:
        edges: [n, K] as from `dependencies`.
        keys: [K] True at the keys in question.

    Returns:
        [n] True where a row has such an edge.
    """
    found: BoolArray = np.any(edges & keys, axis=1)
    return found


def independent_set(conflicts: BoolArray, weights: FloatArray) -> IntArray:
    """Picks a maximal set without conflicts, greedily by weight.

    Taking the heaviest remaining node and deleting its neighbours, again and again, equals one pass
    in order of weight that skips nodes in conflict with the chosen ones.

    Args:
        conflicts: [n, n] True at [i, j] if j must not follow once i is chosen; symmetric unless a
            rule depends on the order. False on the diagonal.
        weights: [n] heavier goes first, the lowest index on ties.

    Returns:
        Chosen indices in the order of choice.
    """
    chosen = []
    blocked = np.zeros(len(weights), dtype=bool)
    for index in np.argsort(-weights, kind="stable").tolist():
        if not blocked[index]:
            chosen.append(index)
            blocked |= conflicts[index]
    return np.asarray(chosen, dtype=np.int64)
