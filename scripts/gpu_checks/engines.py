"""Engines under test and what they are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dawn_runtime import Artifact, Engine, EngineInfo, StepInputs, StepOutputs, open_engine
from dawn_runtime.manifest import Manifest

REFERENCE = "onnxruntime-cpu"
GRAPHS = "onnxruntime-cuda+graphs"
"""ONNX Runtime that replays whole runs as CUDA graphs, which is off unless asked for."""


class HostSelection:
    """The same engine without what it offers on the device: arrays in NumPy, selection in NumPy.

    Args:
        engine: The engine.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def describe(self) -> EngineInfo:
        """Returns what the engine runs."""
        return self._engine.describe()

    def run(self, inputs: StepInputs) -> StepOutputs:
        """Runs the engine on arrays of the host."""
        return self._engine.run(inputs)

    def close(self) -> None:
        """Leaves the engine open: it belongs to somebody else."""


@contextmanager
def opened(folder: Path, name: str) -> Iterator[tuple[Manifest, Engine]]:
    """Opens an engine on an artifact folder and closes it."""
    artifact = Artifact.open(folder)
    base, _, extra = name.partition("+")
    engine = open_engine(artifact, base, cuda_graphs=bool(extra))
    try:
        yield artifact.manifest, engine
    finally:
        engine.close()


def random_prompt(manifest: Manifest, length: int, seed: int) -> list[int]:
    """Ordinary tokens of the vocabulary, the same for a seed."""
    tokens = manifest.tokens
    special = [tokens.mask, *tokens.eos, *([] if tokens.pad is None else [tokens.pad])]
    ordinary = np.setdiff1d(np.arange(manifest.dims.vocab_size), special)
    drawn: list[int] = np.random.default_rng(seed).choice(ordinary, size=length).tolist()
    return drawn
