"""Logistic regression by Newton's method, with a penalty on squared weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dawn_runtime.arrays import BoolArray

_STEPS: Final = 30
_CLOSE: Final = 1e-8
_PENALTY: Final = 1.0
_FLATTEST: Final = 1e-6

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Logistic:
    """A fitted model: chance = sigmoid(x @ weights + bias).

    Attributes:
        weights: float64 [K].
        bias: Added to every score.
    """

    weights: Values
    bias: float

    def score(self, features: NDArray[np.floating]) -> Values:
        """Logarithms of odds: [..., K] -> [...]."""
        scores: Values = features @ self.weights + self.bias
        return scores

    def chance(self, features: NDArray[np.floating]) -> Values:
        """Probabilities: [..., K] -> [...]."""
        chances: Values = 0.5 * (1 + np.tanh(self.score(features) / 2))
        return chances


def fit(features: NDArray[np.floating], positive: BoolArray, penalty: float = _PENALTY) -> Logistic:
    """Finds the weights of least loss; features are brought to one scale first.

    Args:
        features: [N, K].
        positive: bool [N].
        penalty: Of half the sum of squared weights, the bias aside; > 0.
    """
    mean, scale = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    scale = np.maximum(scale, _FLATTEST)
    x = np.column_stack([(features - mean) / scale, np.ones(len(features))])
    ridge = np.r_[np.full(features.shape[1], penalty), _FLATTEST]
    weights = _newton(x, positive.astype(np.float64), ridge)
    own = weights[:-1] / scale
    return Logistic(own, float(weights[-1] - own @ mean))


def _newton(x: Values, y: Values, ridge: Values) -> Values:
    weights = np.zeros(x.shape[1])
    loss = _loss(x, y, ridge, weights)
    for _ in range(_STEPS):
        chance = 0.5 * (1 + np.tanh(x @ weights / 2))
        slope = x.T @ (chance - y) + ridge * weights
        bend = (x * (chance * (1 - chance))[:, None]).T @ x + np.diag(ridge)
        step = np.linalg.solve(bend, slope)
        # A full step may leap beyond the least loss; some part of it never does.
        while (new := _loss(x, y, ridge, weights - step)) > loss and np.abs(step).max() > _CLOSE:
            step = step / 2
        if np.abs(step).max() <= _CLOSE:
            break
        weights, loss = weights - step, new
    return weights


def _loss(x: Values, y: Values, ridge: Values, weights: Values) -> float:
    scores = x @ weights
    return float((np.logaddexp(0, scores) - y * scores).sum() + ridge @ weights**2 / 2)
