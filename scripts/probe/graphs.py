"""Graphs that DAWN's selection is given in place of mean attention."""

from __future__ import annotations

from typing import Final

import numpy as np

from dawn_calibration.thresholds.strengths import Line, Setting, Value
from dawn_runtime.arrays import FloatArray
from probe.coupling import LEAST, coupling, predicted
from probe.engines import State
from probe.logistic import Logistic
from probe.network import Network
from probe.pairs import entropies, heads

_BEYOND_DOUBT: Final = 0.999
"""Confidence from which on nothing is revealed: it would be written in by every rule."""

_GRID: Final[dict[str, tuple[Value, ...]]] = {
    "tau_sink": (1.0,),
    "adjacency": ("union",),
    "tau_high": (0.9, 0.98),
    "tau_low": (LEAST, 0.5, 0.7),
}
"""Every key may carry an edge, and what depends on a token that is sure waits."""

PLAIN: Final[tuple[Line, ...]] = (
    Line("threshold", {"threshold": (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)}),
    Line("eb", {"gamma": (0.03, 0.1, 0.3, 0.6, 1.0)}),
    Line("verify", {"threshold": (0.8, 0.9, 0.98)}),
    Line(
        "dawn",
        {**_GRID, "tau_sink": (0.04,), "tau_edge": (0.02, 0.05), "tau_high": (0.9,)},
        "dawn-attention",
    ),
)
"""What needs no other evidence."""

TRUE: Final = (Line("dawn", {**_GRID, "tau_edge": (0.1, 0.3)}, "dawn-true"),)
"""What is given the true graph."""

COMPLETE: Final = (
    Line(
        "dawn",
        {**_GRID, "adjacency": ("both",), "tau_edge": (0.5,), "tau_high": (0.9,)},
        "dawn-complete",
    ),
)
"""What is told that all pairs are in conflict: the sure go, and the best of the others.

It tells what of a gain is the selection's and not the graph's.
"""

LEARNED: Final = (Line("dawn", {**_GRID, "tau_edge": (0.3, 0.6)}, "dawn-learned"),)
"""What is given the chance of coupling, as all heads and the entropies tell it."""


def settings_of(lines: tuple[Line, ...]) -> tuple[Setting, ...]:
    """Returns all settings of some lines."""
    return tuple(setting for line in lines for setting in line.settings())


class TrueGraph:
    """How far revealing j moves the distribution at i: [n, n] of a state, 0 to 1."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def __call__(self, state: State) -> FloatArray:
        """Reveals what may be committed and is not beyond doubt."""
        now = predicted(self._network, state.sequence, state.positions)
        reveal = now.open_to(LEAST, _BEYOND_DOUBT)
        return coupling(self._network, state.sequence, state.positions, now, reveal).moved


class Complete:
    """Everything depends on everything."""

    def __call__(self, state: State) -> FloatArray:
        """Returns ones."""
        return np.ones((len(state.positions),) * 2, dtype=np.float32)


class LearnedGraph:
    """The chance that j moves i: [n, n] of a state."""

    def __init__(self, network: Network, model: Logistic) -> None:
        self._network, self._model = network, model

    def __call__(self, state: State) -> FloatArray:
        """Asks the model about every pair."""
        now = predicted(self._network, state.sequence, state.positions)
        told = heads(self._network, state.sequence, state.positions)
        features = np.concatenate([told, entropies(now.entropy)], axis=-1)
        chances: FloatArray = self._model.chance(features).astype(np.float32)
        return chances
