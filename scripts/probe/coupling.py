"""True coupling of undecided positions: write one token in, and see which predictions move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray
from probe.network import Predictor

LEAST: Final = 0.3
"""Confidence below which no rule here commits a token beside another."""

SURE: Final = 0.95
"""Confidence from which on a token needs no evidence to be committed."""


@dataclass(frozen=True, eq=False)
class Predicted:
    """What is predicted at n positions.

    Attributes:
        tokens: int64 [n] the best ones.
        confidence: float32 [n] their probabilities.
        entropy: float32 [n] of the distributions, in nats.
        chances: float32 [n, V] the distributions.
    """

    tokens: IntArray
    confidence: FloatArray
    entropy: FloatArray
    chances: FloatArray

    @classmethod
    def of(cls, chances: FloatArray) -> Predicted:
        """Reads distributions [n, V]."""
        logs = np.log(np.maximum(chances, np.finfo(np.float32).tiny))
        return cls(chances.argmax(axis=1), chances.max(axis=1), -(chances * logs).sum(1), chances)

    def open_to(self, least: float, sure: float) -> IntArray:
        """Returns the numbers of those predicted with a confidence in [least, sure)."""
        return np.flatnonzero((self.confidence >= least) & (self.confidence < sure))


@dataclass(frozen=True, eq=False)
class Coupling:
    """What revealing j does at i; 0 and False where j was not revealed, and at i = j.

    Attributes:
        moved: float32 [n, n] total variation of the distribution at i, 0 to 1.
        changed: bool [n, n] whether another token is the best at i.
    """

    moved: FloatArray
    changed: BoolArray


def predicted(network: Predictor, sequence: IntArray, positions: IntArray) -> Predicted:
    """Runs a sequence [S] once; returns what is predicted at positions [n]."""
    return Predicted.of(network.distributions(sequence[None], positions)[0])


def coupling(
    network: Predictor, sequence: IntArray, positions: IntArray, now: Predicted, reveal: IntArray
) -> Coupling:
    """Fills positions with their best tokens, one at a time, and compares what is predicted.

    Args:
        network: Predicts.
        sequence: int64 [S].
        positions: int64 [n] undecided ones.
        now: What is predicted there.
        reveal: int64 [m] numbers of those that are filled, from 0 to n - 1.
    """
    count = len(positions)
    moved = np.zeros((count, count), dtype=np.float32)
    changed = np.zeros((count, count), dtype=np.bool_)
    if len(reveal):
        filled = np.repeat(sequence[None], len(reveal), axis=0)
        filled[np.arange(len(reveal)), positions[reveal]] = now.tokens[reveal]
        then = network.distributions(filled, positions)
        moved[:, reveal] = np.abs(then - now.chances).sum(axis=-1).T / 2
        changed[:, reveal] = (then.argmax(axis=-1) != now.tokens).T
    np.fill_diagonal(moved, 0)
    np.fill_diagonal(changed, False)
    return Coupling(moved, changed)
