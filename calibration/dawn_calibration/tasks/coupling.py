"""Choices whose parts must agree, weighted so that the likeliest parts do not.

Take three cities and how often each is the answer::

    Los Angeles  0.4        first word:   New 0.6, Los 0.4
    New York     0.3        second word:  Angeles 0.4, York 0.3, Delhi 0.3
    New Delhi    0.3

A decoder that fills both places at once from their marginals writes "New Angeles". One that fills a
place, looks again and fills the other is right. This is what dependency-aware decoding is for, and
what the coupled tasks measure.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Choice:
    """Parts that agree, and how often they are chosen relative to the other choices.

    Attributes:
        parts: Texts, in the order in which they stand in the answer.
        weight: Relative frequency, in percent.
    """

    parts: tuple[str, ...]
    weight: int


def pick(rng: random.Random, choices: Sequence[Choice]) -> Choice:
    """Draws a choice by weight."""
    return rng.choices(choices, weights=[choice.weight for choice in choices])[0]
