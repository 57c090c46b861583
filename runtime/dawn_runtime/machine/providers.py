"""Execution providers of ONNX Runtime that really load, and the opset they take.

A build names every provider it was compiled with, whether or not the libraries behind it are there,
and a session falls back to the CPU with no more than a line in the log. So a session is opened on
each, in a process of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dawn_runtime.machine.isolated import Answer, ask
from dawn_runtime.machine.onnx_bytes import GraphVersions

CPU: Final = "CPUExecutionProvider"


PROVIDERS: Final = (
    CPU,
    "CUDAExecutionProvider",
    "TensorrtExecutionProvider",
    "NvTensorRTRTXExecutionProvider",
)
"""The providers of use to this toolkit."""


PLAIN: Final = GraphVersions(opset=17, ir_version=8)
"""Versions that every ONNX Runtime of the last years reads."""


_PROBE: Final = "dawn_runtime.machine.probe"


@dataclass(frozen=True, slots=True)
class OnnxRuntime:
    """An ONNX Runtime as it was found.

    Attributes:
        version: Its version; empty if it does not load.
        folder: Where the module lies; None if it does not load.
        failures: Provider of `PROVIDERS` that the build names -> why it does not load, or empty.
        reason: Why ONNX Runtime itself does not load, or empty.
        graph_refused: Why it does not take a model of the artifact's versions, or empty.
    """

    version: str = ""
    folder: Path | None = None
    failures: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    graph_refused: str = ""


def read_onnxruntime(versions: GraphVersions | None) -> OnnxRuntime:
    """Loads ONNX Runtime and its providers, each in a process of its own.

    Args:
        versions: What the graph of the artifact asks for; None if there is none.
    """
    answer = ask(_PROBE)
    if not answer.document:
        return OnnxRuntime(reason=_last_line(answer.log))
    named = [name for name in PROVIDERS if name in answer.document["providers"]]
    return OnnxRuntime(
        version=answer.document["version"],
        folder=Path(answer.document["folder"]),
        failures={name: load_failure(name) for name in named},
        graph_refused="" if versions is None else _failure(CPU, versions),
    )


def load_failure(provider: str) -> str:
    """Returns why a provider does not load on this machine; empty if it does."""
    return _failure(provider, PLAIN)


def _failure(provider: str, versions: GraphVersions) -> str:
    answer = ask(_PROBE, provider, str(versions.opset), str(versions.ir_version))
    return failure_of(answer)


def failure_of(answer: Answer) -> str:
    """Why a provider did not load, from what its probe said; empty if it did."""
    if answer.document.get("loaded"):
        return ""
    return answer.document.get("reason") or _last_line(answer.log) or "no reason was given"


def _last_line(log: str) -> str:
    """The last line that says something, without the colours of the terminal."""
    lines = [line.replace("\x1b[0m", "").strip() for line in log.splitlines()]
    return next((line for line in reversed(lines) if line), "")
