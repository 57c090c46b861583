"""ONNX Runtime on the CPU: a loader and a runner."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dawn_runtime import contract
from dawn_runtime.engine.checks import check_inputs, named_inputs
from dawn_runtime.engine.protocol import EngineInfo, StepInputs, StepOutputs
from dawn_runtime.errors import DependencyError, EngineError
from dawn_runtime.manifest import Manifest

ACTIVATIONS = ("fp32", "fp16")
"""What the CPU provider computes in. Of bfloat16 it knows no arithmetic: version 1.31 loads `Cast`,
`Concat` and `Transpose`, but no `MatMul`, `Add`, `Mul` or `Softmax`."""

_ERRORS_ONLY = 3
"""Log severity of ONNX Runtime: errors and worse."""


class OrtEngine:
    """Runs a step graph with ONNX Runtime on the CPU.

    Args:
        graph: Path of `model.onnx`; its weights lie beside it.
        manifest: Manifest of the artifact the graph belongs to.
        threads: Threads inside one operator; None lets ONNX Runtime take every physical core.
        check: Whether inputs are checked against the contract before each run.

    Raises:
        DependencyError: onnxruntime is not installed.
        EngineError: ONNX Runtime cannot load the graph, or cannot compute in its activations.
    """

    def __init__(
        self, graph: Path, manifest: Manifest, *, threads: int | None = None, check: bool = True
    ) -> None:
        if manifest.activations not in ACTIVATIONS:
            raise EngineError(
                f"onnxruntime-cpu: cannot run {manifest.activations}, it runs "
                f"{' and '.join(ACTIVATIONS)}; export at one of them, or run this on a GPU"
            )
        dims = manifest.dims
        self._info = EngineInfo(
            name="onnxruntime-cpu",
            layers=dims.layers,
            kv_heads=dims.kv_heads,
            head_dim=dims.head_dim,
            vocab_size=dims.vocab_size,
            max_length=dims.max_length,
            kv_dtype=manifest.kv_dtype,
        )
        self._present_names = contract.kv_names("present", dims.layers)
        self._check = check
        self._session: Any = _load(graph, threads)

    def describe(self) -> EngineInfo:
        """Returns what this engine runs."""
        return self._info

    def run(self, inputs: StepInputs) -> StepOutputs:
        """Runs the graph once, computing only the outputs that are wanted.

        Raises:
            EngineError: The inputs break the contract, ONNX Runtime failed, or it is closed.
        """
        if self._session is None:
            raise EngineError(f"{self._info.name}: the engine is closed; open the artifact again")
        if self._check:
            check_inputs(inputs, self._info)
        names = ["tokens", "confidence", "attention"]
        names += ["logits"] if inputs.want_logits else []
        names += self._present_names if inputs.want_present else []
        with _translated("run the graph"):
            found = dict(zip(names, self._session.run(names, self._feeds(inputs)), strict=True))
        return StepOutputs(
            tokens=found["tokens"],
            confidence=found["confidence"],
            attention=found["attention"],
            logits=found.get("logits"),
            present=tuple(found[name] for name in self._present_names if name in found),
        )

    def close(self) -> None:
        """Frees the session."""
        self._session = None

    def _feeds(self, inputs: StepInputs) -> dict[str, NDArray[Any]]:
        """Names the inputs; without a cache the graph still wants arrays, of length 0."""
        feeds = named_inputs(inputs)
        if not inputs.past:
            info = self._info
            shape = (len(inputs.input_ids), info.kv_heads, 0, info.head_dim)
            empty = np.zeros(shape, dtype=info.kv_dtype)
            feeds.update(dict.fromkeys(contract.kv_names("past", info.layers), empty))
        return feeds


def _load(graph: Path, threads: int | None) -> Any:
    """Opens a session on the graph."""
    onnxruntime = _import()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    # It plans one block of memory for every set of input shapes it meets and keeps the plans and
    # the blocks. Decoding meets ever new shapes, so that only grows; see scripts/soak.py.
    options.enable_mem_pattern = False
    if threads is not None:
        options.intra_op_num_threads = threads
    with _translated(f"load {graph.name}"):
        return onnxruntime.InferenceSession(
            str(graph), sess_options=options, providers=["CPUExecutionProvider"]
        )


@contextmanager
def _translated(action: str) -> Iterator[None]:
    """Turns what ONNX Runtime raises into an `EngineError` of one line."""
    try:
        yield
    except _error_classes() as error:
        reason = " ".join(str(error).split())
        raise EngineError(f"onnxruntime-cpu: cannot {action}: {reason:.300}") from error


@cache
def _error_classes() -> tuple[type[Exception], ...]:
    """Its own exceptions, which share no base class, and the two its Python layer raises."""
    members = vars(_import().capi.onnxruntime_pybind11_state).values()
    own = [m for m in members if isinstance(m, type) and issubclass(m, Exception)]
    return (*own, RuntimeError, ValueError)


def _import() -> Any:
    """Imports onnxruntime, which has no type information."""
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError as error:
        raise DependencyError(
            "the CPU engine needs onnxruntime, which is not installed; pip install 'dawn-edge[cpu]'"
        ) from error
    return onnxruntime
