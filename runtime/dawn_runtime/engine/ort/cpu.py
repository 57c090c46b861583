"""ONNX Runtime on the CPU: a loader and a runner."""

from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dawn_runtime import contract
from dawn_runtime.artifact import Artifact
from dawn_runtime.engine.checks import check_inputs, check_rows, check_threads, named_inputs
from dawn_runtime.engine.ort.session import (
    CPU_PROVIDER,
    import_onnxruntime,
    open_session,
    translated,
)
from dawn_runtime.engine.protocol import StepInputs, StepOutputs
from dawn_runtime.engine_info import EngineInfo, info_of
from dawn_runtime.errors import EngineError
from dawn_runtime.interruption import stoppable
from dawn_runtime.manifest import Manifest
from dawn_runtime.threads import choose_threads

ACTIVATIONS = ("fp32", "fp16")
"""What the CPU provider computes in. Of bfloat16 it knows no arithmetic: version 1.31 loads `Cast`,
`Concat` and `Transpose`, but no `MatMul`, `Add`, `Mul` or `Softmax`."""

_NAME = "onnxruntime-cpu"

_LANES = 16
"""Sums over keys are taken in as many lanes at most (float32, AVX-512). Keys shifted by a multiple
of it are added in the same order, and masked ones add zero. That holds for as many keys as a matrix
product adds up in one go, 128 * 128 / head_dim; keys that are not shifted have no such limit."""


class OrtEngine:
    """Runs a step graph with ONNX Runtime on the CPU, in several threads at once if need be.

    Args:
        graph: Path of `model.onnx`; its weights lie beside it.
        manifest: Manifest of the artifact the graph belongs to.
        threads: Threads inside one operator; None takes as many as help.
        low_memory: Whether weights stay in the mapped file and are converted in every step: slower,
            but the memory is that of the file, which the system may drop, and of one matrix.
        check: Whether inputs are checked against the contract before each run.

    Raises:
        OptionError: The number of threads is out of range.
        DependencyError: onnxruntime is not installed.
        EngineError: ONNX Runtime cannot load the graph, or cannot compute in its activations.
    """

    concurrent: Final = True

    def __init__(
        self,
        graph: Path,
        manifest: Manifest,
        *,
        threads: int | None = None,
        low_memory: bool = False,
        check: bool = True,
    ) -> None:
        threads = check_threads(threads)
        if manifest.activations not in ACTIVATIONS:
            raise EngineError(
                f"{_NAME}: cannot run {manifest.activations}, it runs "
                f"{' and '.join(ACTIVATIONS)}; export at one of them, or run this on a GPU"
            )
        chosen = choose_threads(manifest.dims, threads)
        info = info_of(_NAME, manifest)
        self._info = replace(info, threads=chosen, alignment=_LANES)
        self._present_names = contract.kv_names("present", manifest.dims.layers)
        self._check = check
        self._run_options = import_onnxruntime().RunOptions
        self._session: Any = open_session(
            _NAME,
            graph,
            [CPU_PROVIDER],
            data=graph.with_name(manifest.step.data),
            activations=manifest.activations,
            threads=chosen.count,
            spinning=chosen.spinning,
            low_memory=low_memory,
            own_operators=not low_memory,  # they keep a packed copy of the weights
        )

    def describe(self) -> EngineInfo:
        """Returns what this engine runs."""
        return self._info

    def run(self, inputs: StepInputs) -> StepOutputs:
        """Runs the graph once, computing only the outputs that are wanted.

        Raises:
            EngineError: The inputs break the contract, ONNX Runtime failed, or it is closed.
        """
        session = self._session  # which another thread may close meanwhile
        if session is None:
            raise EngineError(f"{self._info.name}: the engine is closed; open the artifact again")
        if self._check:
            feeds = check_inputs(inputs, self._info)
        else:
            info = self._info
            feeds = named_inputs(inputs, measures=info.measures, drafts=info.drafts)
        check_rows(inputs, self._info)
        names = ["tokens", "confidence", "attention"]
        names += ["logits"] if inputs.want_logits else []
        names += inputs.measures
        names += self._present_names if inputs.want_present else []
        options = self._run_options()
        with translated(_NAME, "run the graph"), stoppable(partial(_stop, options)):
            arrays = session.run(names, feeds | self._empty(inputs), options)
        found = dict(zip(names, arrays, strict=True))
        return StepOutputs(
            tokens=found["tokens"],
            confidence=found["confidence"],
            attention=found["attention"],
            logits=found.get("logits"),
            present=tuple(found[name] for name in self._present_names if name in found),
            entropy=found.get("entropy"),
            margin=found.get("margin"),
        )

    def close(self) -> None:
        """Frees the session."""
        self._session = None

    def _empty(self, inputs: StepInputs) -> dict[str, NDArray[Any]]:
        """Returns what the graph wants without a cache, too: arrays of length 0."""
        if inputs.past:
            return {}
        info = self._info
        shape = (len(inputs.input_ids), info.kv_heads, 0, info.kv_width)
        return _no_past(shape, info.kv_dtype, info.layers)


@lru_cache(maxsize=16)  # of the same few batches, step after step
def _no_past(shape: tuple[int, ...], dtype: str, layers: int) -> dict[str, NDArray[Any]]:
    return dict.fromkeys(contract.kv_names("past", layers), np.zeros(shape, dtype=dtype))


def _stop(options: Any) -> None:
    options.terminate = True


def open_cpu(
    artifact: Artifact, *, threads: int | None = None, low_memory: bool = False
) -> OrtEngine:
    """Opens the graph of an artifact on the CPU; see `OrtEngine`."""
    graph = artifact.graph()
    return OrtEngine(graph, artifact.manifest, threads=threads, low_memory=low_memory)
