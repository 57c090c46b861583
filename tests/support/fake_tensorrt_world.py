"""What both halves of the fake TensorRT share: what it does and saw, enumerations, base classes."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

MAGIC = b"plan"


@dataclass
class World:
    """What the module does and saw.

    Attributes:
        enqueue: Runs work now, or keeps it where a CUDA graph is being captured.
        during_build: What happens in the middle of a build.
        faults: Names of what shall fail: parse, build, load, refit, context, shape, run, capture.
        changed: Tensor -> what an engine says of it instead: a type, a mode or a location.
        captures: Runs that were recorded, for each of them whether a shape of its context had been
            set since the last run.
        recording: Whether a CUDA graph is being captured.
        live: Objects that were made and not yet collected, by class name.
        runs: How often an engine ran.
        bound: How often a shape or an address was set.
        capability: Of the GPU that plans are built for and run on.
        attention: Whether the release knows attention layers.
    """

    enqueue: Callable[[Callable[[], None]], None] = lambda work: work()
    during_build: Callable[[], None] = lambda: None
    faults: set[str] = field(default_factory=set)
    changed: dict[str, Any] = field(default_factory=dict)
    captures: list[bool] = field(default_factory=list)
    recording: Callable[[], bool] = lambda: False
    live: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)
    runs: int = 0
    bound: int = 0
    capability: str = "8.7"
    attention: bool = False


_CURRENT: list[World] = []


def current() -> World:
    """The world of the module that was made last."""
    return _CURRENT[0]


def enter(world: World) -> None:
    """Makes a world the current one."""
    _CURRENT[:] = [world]


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class ILogger:
    """As the real one: abstract, what is logged goes to a subclass."""

    Severity = Severity
    INTERNAL_ERROR, ERROR, WARNING = Severity.INTERNAL_ERROR, Severity.ERROR, Severity.WARNING

    def __init__(self) -> None:
        self.initialised = True

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    """As the real one: abstract, progress goes to a subclass."""

    def __init__(self) -> None:
        self.initialised = True

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


class NetworkDefinitionCreationFlag(IntEnum):
    STRONGLY_TYPED = 1


class BuilderFlag(IntEnum):
    TF32 = 7
    VERSION_COMPATIBLE = 13
    STRIP_PLAN = 19
    REFIT_IDENTICAL = 20


class ProfilingVerbosity(IntEnum):
    LAYER_NAMES_ONLY = 0
    DETAILED = 2


class ExecutionContextAllocationStrategy(IntEnum):
    STATIC = 0
    USER_MANAGED = 2


class DataType(IntEnum):
    FLOAT = 0
    HALF = 1
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    BF16 = 7
    INT64 = 8


class TensorIOMode(IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class TensorLocation(IntEnum):
    DEVICE = 0
    HOST = 1


class LayerInformationFormat(IntEnum):
    ONELINE = 0
    JSON = 1


def open_session(model: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(Path(model)), sess_options=options, providers=["CPUExecutionProvider"]
    )
