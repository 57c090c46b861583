"""Bare sums and products: practice for the word problems, with nothing to copy from.

In a story a result is used by the next step, so a model that sees the next step copies it and
learns little; and a story holds two or three results in fifty tokens. A drill holds eight, each
standing alone. Drills are no task: they are trained on, never asked.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from dawn_calibration.tasks import Item
from dawn_calibration.tasks.arithmetic import LARGEST_FACTOR, LIMIT, Step

NAME = "drill"
_EQUATIONS = 8


def drills(seed: int) -> Iterator[Item]:
    """An endless stream of drills, the same for the same seed."""
    rng = random.Random(f"{NAME} {seed}")
    while True:
        answer = " ".join(str(_equation(rng)) for _ in range(_EQUATIONS))
        yield Item(NAME, answer, "Calculate.", answer)


def _equation(rng: random.Random) -> Step:
    """A step as it may stand in a word problem; sums far more often than products."""
    if rng.random() < 0.1:
        left, right = rng.randint(2, LARGEST_FACTOR), rng.randint(2, LARGEST_FACTOR)
        return Step(left, "*", right, left * right)
    right = rng.randint(1, LARGEST_FACTOR**2)  # an amount, or a product
    smaller = rng.randint(0, LIMIT - right)
    if rng.random() < 0.5:
        return Step(smaller, "+", right, smaller + right)
    return Step(smaller + right, "-", right, smaller)
