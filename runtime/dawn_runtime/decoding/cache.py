"""Cache strategies: which positions to feed in a step.

Attention without a causal mask does not care about the order of keys, so a cache is a choice of
positions and the engine never knows which strategy is used. `none` feeds the whole row at every
step; it is exact, and the reference for every other strategy.

To add one: a frozen dataclass decorated by `@CACHES.register`; its fields are its options.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding.state import RowState
from dawn_runtime.policies import Needs
from dawn_runtime.registry import Registry


@dataclass(frozen=True, slots=True, eq=False)
class RowPlan:
    """What one row feeds to the engine in a step and what it wants back, as positions.

    Attributes:
        window: First position of the window and the one after its last.
        candidates: int64 [n] undecided positions of the window, ascending.
        fed: int64 [S] distinct positions fed, in any order.
        predicted: int64 [R] positions whose predictions are wanted, candidates included.
        evidence: int64 [Q] positions whose attention rows are wanted; all of them fed.
    """

    window: tuple[int, int]
    candidates: IntArray
    fed: IntArray
    predicted: IntArray
    evidence: IntArray


class Cache(ABC):
    """Plans the steps of a row.

    Attributes:
        name: Name in the registry.
    """

    __slots__ = ()

    name: ClassVar[str]

    @abstractmethod
    def plan(self, row: RowState, window: tuple[int, int], needs: Needs) -> RowPlan:
        """Chooses what an unfinished row feeds in its next step.

        Args:
            row: The row.
            window: Its window, as from `Window.span`.
            needs: What its policy reads.
        """


CACHES: Registry[Cache] = Registry("cache")
"""All cache strategies by name."""


@CACHES.register
@dataclass(frozen=True, slots=True)
class NoCache(Cache):
    """Feeds every position of the row at every step."""

    name: ClassVar[str] = "none"

    def plan(self, row: RowState, window: tuple[int, int], needs: Needs) -> RowPlan:
        """Plans a full pass."""
        begin, end = window
        fed = np.arange(row.length)
        candidates = begin + np.flatnonzero(row.masked[begin:end])
        predicted = fed[:end] if needs.known_predictions else candidates
        if needs.later_predictions:
            predicted = np.append(predicted, end + np.flatnonzero(row.masked[end:]))
        evidence = {"none": fed[:0], "candidates": candidates, "all": fed}[needs.evidence]
        return RowPlan(
            window=window,
            candidates=candidates,
            fed=fed,
            predicted=predicted,
            evidence=evidence,
        )
