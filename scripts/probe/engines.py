"""Engines around an engine: one that tells what it is fed, one that gives other evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from dawn_runtime import Engine
from dawn_runtime.arrays import FloatArray, IntArray
from dawn_runtime.engine.protocol import StepInputs, StepOutputs
from dawn_runtime.engine_info import EngineInfo


@dataclass(frozen=True, eq=False)
class State:
    """A sequence between two steps.

    Attributes:
        sequence: int64 [S] without padding.
        positions: int64 [n] the undecided ones that the step predicts, ascending.
    """

    sequence: IntArray
    positions: IntArray

    @property
    def key(self) -> bytes:
        """Equal for states that are the same."""
        return self.sequence.tobytes() + b"|" + self.positions.tobytes()


def states(inputs: StepInputs, mask: int, shift: int) -> Iterator[State]:
    """Reads the states of a step, row by row; it has to be one over whole sequences.

    Args:
        inputs: What the engine is fed.
        mask: Id of an undecided token.
        shift: How many positions ahead a row predicts.
    """
    for number, ids in enumerate(inputs.input_ids):
        length = int(inputs.attention_mask[number, 0].any(axis=0).sum())
        sequence, fed = ids[:length], inputs.position_ids[number, :length]
        if (inputs.past and inputs.past[0].shape[2]) or not np.array_equal(fed, np.arange(length)):
            raise ValueError("a step over a part of the sequence; decode without a cache")
        ahead = np.unique(inputs.logit_rows[number] + shift)
        ahead = ahead[ahead < length]
        yield State(sequence.copy(), ahead[sequence[ahead] == mask])


class _Around:
    """Passes everything on to another engine."""

    def __init__(self, engine: Engine, mask: int, shift: int) -> None:
        self._engine, self._mask, self._shift = engine, mask, shift

    def describe(self) -> EngineInfo:
        """Returns what the engine inside runs."""
        return self._engine.describe()

    def close(self) -> None:
        """Closes the engine inside."""
        self._engine.close()


class Watched(_Around):
    """Keeps the states that it meets, in `met`."""

    def __init__(self, engine: Engine, mask: int, shift: int) -> None:
        super().__init__(engine, mask, shift)
        self.met: list[State] = []

    def run(self, inputs: StepInputs) -> StepOutputs:
        """Runs the engine inside."""
        self.met += states(inputs, self._mask, self._shift)
        return self._engine.run(inputs)


class WithEvidence(_Around):
    """Gives a graph of its own for attention: [n, n] among the undecided, 0 elsewhere.

    Args:
        engine: Runs the model.
        mask: Id of an undecided token.
        shift: How many positions ahead a row predicts.
        graph: Makes float32 [n, n] of a state: how much i depends on j.
    """

    def __init__(
        self, engine: Engine, mask: int, shift: int, graph: Callable[[State], FloatArray]
    ) -> None:
        super().__init__(engine, mask, shift)
        self._graph = graph
        self._known: dict[bytes, FloatArray] = {}

    def run(self, inputs: StepInputs) -> StepOutputs:
        """Runs the engine inside and replaces its attention."""
        outputs = self._engine.run(inputs)
        attention = np.zeros_like(outputs.attention)
        for number, state in enumerate(states(inputs, self._mask, self._shift)):
            whole = np.zeros((inputs.input_ids.shape[1], attention.shape[2]), dtype=np.float32)
            whole[np.ix_(state.positions, state.positions)] = self._of(state)
            attention[number] = whole[inputs.attention_rows[number]]
        return replace(outputs, attention=attention)

    def _of(self, state: State) -> FloatArray:
        """A state that several settings meet is looked into once."""
        if state.key not in self._known:
            self._known[state.key] = self._graph(state)
        return self._known[state.key]
