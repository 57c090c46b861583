"""Bare sums: practice for the word problems, with nothing to copy from.

In a story a result is used by the next step, so a model that sees the next step copies it and
learns little; and a story holds two or three results in fifty tokens. A drill holds ten, each
standing alone, and only results are asked for: operands are drawn at random, so predicting them
teaches nothing. Drills are no task: they are trained on, never asked of the finished model.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tokenizers import Tokenizer

from dawn_calibration.tasks import Item
from dawn_calibration.tasks.arithmetic import LARGEST_AMOUNT, LARGEST_FACTOR, LIMIT, Step

NAME = "drill"
_EQUATIONS = 10


def drills(seed: int) -> Iterator[Item]:
    """An endless stream of drills, the same for the same seed."""
    rng = random.Random(f"{NAME} {seed}")
    while True:
        answer = " ".join(str(_equation(rng)) for _ in range(_EQUATIONS))
        yield Item(NAME, answer, "Calculate.", answer)


def results(tokenizer: Tokenizer, answer: list[int]) -> list[bool]:
    """For each token of a drill, whether it is a digit of a result."""
    tokens = [tokenizer.decode([token]).strip() for token in answer]
    after_equals, found = False, []
    for token in tokens:
        after_equals = token == "=" or (after_equals and token != ".")
        found.append(after_equals and token.isdigit())
    return found


def _equation(rng: random.Random) -> Step:
    """A sum or a difference as it may stand in a word problem."""
    right = rng.randint(1, LARGEST_AMOUNT)
    if rng.random() < 0.2:
        right = rng.randint(2, LARGEST_FACTOR) * rng.randint(2, LARGEST_FACTOR)
    smaller = rng.randint(0, LIMIT - right)
    if rng.random() < 0.5:
        return Step(smaller, "+", right, smaller + right)
    return Step(smaller + right, "-", right, smaller)
