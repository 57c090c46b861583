"""Which candidates come first, and how many a schedule of steps commits: for rules that count.

Orders, the first candidate being the one whose score is greatest:

    confidence   p1, the probability of the best token
    margin       p1 - p2, its distance from that of the second best
    entropy      minus the entropy of the whole distribution
    random       a number from [0, 1): a hash of seed, step and position
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dawn_runtime._hashing import mix, unit
from dawn_runtime.arrays import FloatArray, IntArray
from dawn_runtime.policies.base import READS_NOTHING, Needs, RowView

ORDERS: Final = ("confidence", "margin", "entropy", "random")
"""Names of the orders."""

MOST_STEPS: Final = 2**16
"""In a schedule; more than any answer has tokens."""

LARGEST_SEED: Final = 2**64 - 1

_NEEDS: Final = {"margin": Needs(margin=True), "entropy": Needs(entropy=True)}


def needs_of(order: str) -> Needs:
    """Returns what an order reads.

    Args:
        order: One of `ORDERS`.
    """
    return _NEEDS.get(order, READS_NOTHING)


def scores(view: RowView, order: str) -> FloatArray:
    """Returns by how much each candidate comes first, float32 [n].

    Args:
        view: The row after this step's run of the engine.
        order: One of `ORDERS` but `random`, whose numbers `draws` returns.
    """
    confidence = view.confidence[view.candidates]
    if order == "margin":
        # p2 = p1 exp(-margin), the margin being that of the logits.
        gap: FloatArray = -np.expm1(-view.measured("margin")[view.candidates])
        return confidence * gap
    if order == "entropy":
        return -view.measured("entropy")[view.candidates]
    return confidence


def first(view: RowView, keys: NDArray[np.floating], count: int) -> IntArray:
    """Returns the candidates of the greatest numbers, the lowest positions on ties.

    Args:
        view: The row.
        keys: [n] a number for each candidate.
        count: How many, >= 1.
    """
    return view.candidates[np.argsort(-keys, kind="stable")[:count]]


def draws(seed: int, step: int | IntArray, positions: IntArray) -> NDArray[np.float64]:
    """Returns a number from [0, 1) for each position that looks random, [n] or [m, n].

    Args:
        seed: Another gives other numbers, from 0 to 2^64 - 1.
        step: The same; or int64 [m, 1], for as many rows of numbers.
        positions: int64 [n].
    """
    start = mix(mix(np.array([seed], dtype=np.uint64)) + np.asarray(step, dtype=np.uint64))
    return unit(mix(start + positions.astype(np.uint64)))


def share(view: RowView, steps: int) -> tuple[int, int]:
    """Returns the positions of the window that were to be decided, and the steps that it gets.

    A window has the part of all steps that it has of all positions to decide, at least one step:
    `steps` in all, as in the published functions, which ask for blocks that divide the answer. A
    window that moves on with every step gets its part anew, so that its pace stays the same.

    Args:
        view: The row.
        steps: Of the whole answer, >= 1.
    """
    here = positions_of(view)
    every = view.decided + int(np.count_nonzero(view.masked))
    return here, max(1, steps * here // every)


def positions_of(view: RowView) -> int:
    """Returns the positions of the window that were to be decided.

    Args:
        view: The row.
    """
    return view.window_decided + len(view.candidates)


def due(view: RowView, steps: int, schedule: Callable[[int, int], IntArray]) -> int:
    """Returns how many candidates a schedule of steps commits now, at least one.

    A step commits up to the first number of the schedule that exceeds what the window has. So a
    step that a schedule leaves empty is no step at all: the published functions run the model for
    it and change nothing. What a guard held up is made up for in the next step.

    Args:
        view: The row.
        steps: As for `share`.
        schedule: Of positions and steps: how many are decided after each step, ascending, all of
            them after the last.
    """
    return due_of(view, schedule(*share(view, steps)))


def due_of(view: RowView, after: IntArray) -> int:
    """Returns how many candidates are due by a schedule of the window; see `due`.

    Args:
        view: The row.
        after: int64 [steps], how many are decided after each step.
    """
    place = int(np.searchsorted(after, view.window_decided, side="right"))
    return int(after[place]) - view.window_decided
