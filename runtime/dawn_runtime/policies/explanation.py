"""Why a rule chose what it chose, for those who look at a decoding afterwards.

A rule is asked to explain a step only where somebody records; see `Policy.explain`. What it says is
worked out from the view once more, so that choosing costs nothing for it.

    sure       confident enough by itself
    induced    depends on something that is certain, which `because` names
    free       depends on nothing that is committed in the same step
    chosen     the rule's choice, where it tells no more
    best       the rule chose nothing, so the most confident candidate was committed
    confirmed  tried before, and predicted again with it in its place
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray

REASONS: Final = ("sure", "induced", "free", "chosen", "best", "confirmed")
"""Why a position is committed; see the module."""

MOST_EDGES: Final = 512
"""Edges that are told of a step, the strongest: of n positions there may be n (n - 1)."""


def _none() -> IntArray:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """Which undecided positions of the window depend on which, as a rule saw it in one step.

    Attributes:
        pairs: int64 [m, 2] a position and the one that it depends on, the strongest pair first; at
            most `MOST_EDGES`.
        weights: float32 [m] how much: what the rule compares with its bound.
        count: How many there are, those that are left out included.
    """

    pairs: IntArray
    weights: FloatArray
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What a rule tells of one step of a row.

    Attributes:
        reasons: Position that the rule chose -> one of `REASONS`.
        because: Position that is induced -> the certain one that it depends on most.
        waits: Position that is confident enough and was left out -> the one that it conflicts with.
        sinks: int64 [n] positions that everything attends to, which say nothing of dependencies.
        held: Position that the rule chose and a guard holds back -> the name of that guard.
        window: First position of the window and the one after its last; None where there is none.
        positions: int64 [m] open positions that the step predicted, ascending.
        confidence: float32 [m] of those predictions.
        edges: The rule's graph over what is undecided in the window; None of a rule without one.
    """

    reasons: Mapping[int, str] = field(default_factory=dict)
    because: Mapping[int, int] = field(default_factory=dict)
    waits: Mapping[int, int] = field(default_factory=dict)
    sinks: IntArray = field(default_factory=_none)
    held: Mapping[int, str] = field(default_factory=dict)
    window: tuple[int, int] | None = None
    positions: IntArray = field(default_factory=_none)
    confidence: FloatArray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    edges: Edges | None = None


def reasons_of(**positions: IntArray) -> dict[int, str]:
    """Returns the reason of each position, the first one given that names it.

    Args:
        **positions: Reason -> int64 [n] positions.
    """
    found: dict[int, str] = {}
    for reason, where in positions.items():
        for position in where.tolist():
            found.setdefault(position, reason)
    return found


def edges_of(positions: IntArray, depends: BoolArray, weights: FloatArray) -> Edges:
    """Returns the edges of a graph, the strongest first, the lower positions on ties.

    Args:
        positions: int64 [n] of the nodes.
        depends: bool [n, n] True at [i, j] if i depends on j.
        weights: float32 [n, n] how much.
    """
    pairs = np.argwhere(depends)
    strength: FloatArray = weights[depends].astype(np.float32)
    strongest = np.argsort(-strength, kind="stable")[:MOST_EDGES]
    return Edges(positions[pairs[strongest]], strength[strongest], len(pairs))
