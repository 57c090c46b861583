"""A `tensorrt` that parses, builds, loads and runs step graphs, with ONNX Runtime underneath.

What it offers is checked against the real bindings (test_tensorrt_surface.py), so code that works
with it calls nothing that does not exist. `fake_tensorrt("10.3.0")` lacks what came later.

A plan is JSON; a network is the list of names of a graph's inputs and outputs.
"""

from __future__ import annotations

import ctypes
import json
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"plan"
_SINCE_ATTENTION = (10, 14)


@dataclass
class World:
    """What the module does and saw.

    Attributes:
        enqueue: Runs work now, or keeps it where a CUDA graph is being captured.
        faults: Names of what shall fail: parse, build, load, refit, context, shape, run.
        live: Objects that were made and not yet collected, by class name.
        runs: How often an engine ran.
        bound: How often a shape or an address was set.
        capability: Of the GPU that plans are built for and run on.
        attention: Whether the release knows attention layers.
    """

    enqueue: Callable[[Callable[[], None]], None] = lambda work: work()
    faults: set[str] = field(default_factory=set)
    live: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)
    runs: int = 0
    bound: int = 0
    capability: str = "8.7"
    attention: bool = False


_CURRENT: list[World] = []


def current() -> World:
    """The world of the module that was made last."""
    return _CURRENT[0]


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class ILogger:
    Severity = Severity
    INTERNAL_ERROR, ERROR, WARNING = Severity.INTERNAL_ERROR, Severity.ERROR, Severity.WARNING

    def __init__(self) -> None:
        self.initialised = True

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
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


class LayerInformationFormat(IntEnum):
    ONELINE = 0
    JSON = 1


class ITimingCache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return b"times" + self.data


class IOptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(
        self,
        input: str,  # noqa: A002  # the names of the real ones
        min: tuple[int, ...],  # noqa: A002
        opt: tuple[int, ...],
        max: tuple[int, ...],  # noqa: A002
    ) -> None:
        self.shapes[input] = [list(min), list(opt), list(max)]


class IBuilderConfig:
    __slots__ = ("cache", "profiles", "profiling_verbosity", "progress_monitor", "set")

    def __init__(self) -> None:
        self.set: set[int] = {BuilderFlag.TF32}
        self.profiles: list[IOptimizationProfile] = []
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
        self.progress_monitor: Any = None
        self.cache: ITimingCache | None = None

    def set_flag(self, flag: BuilderFlag) -> None:
        self.set.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.set.discard(flag)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if cache.data and not cache.data.startswith(b"times"):
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self.cache


class INetworkDefinition:
    def __init__(self) -> None:
        self.graph = ""
        self.outputs: list[SimpleNamespace] = []
        self.layers: list[Any] = []

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    def get_output(self, index: int) -> SimpleNamespace:
        return self.outputs[index]

    def get_layer(self, index: int) -> Any:
        return self.layers[index]

    def unmark_output(self, tensor: SimpleNamespace) -> None:
        self.outputs.remove(tensor)


class IAttention:
    __slots__ = ("decomposable",)

    def __init__(self) -> None:
        self.decomposable = False


class IAttentionBoundaryLayer:
    def __init__(self) -> None:
        self.attention = IAttention()


class ParserError:
    def desc(self) -> str:
        return "In importAttention: no such\noperator"


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self.network, self.logger, self.failed = network, logger, False

    def parse_from_file(self, model: str) -> bool:
        if "parse" in current().faults:
            self.failed = True
            return False
        session = open_session(model)
        self.network.graph = model
        self.network.outputs = [SimpleNamespace(name=out.name) for out in session.get_outputs()]
        if current().attention:
            self.network.layers = [IAttentionBoundaryLayer()]
        return True

    @property
    def num_errors(self) -> int:
        return int(self.failed)

    def get_error(self, index: int) -> ParserError:
        assert index < self.num_errors
        return ParserError()


class Builder:
    def __init__(self, logger: ILogger) -> None:
        assert logger.initialised
        self.logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> memoryview | None:
        world = current()
        if "build" in world.faults:
            self.logger.log(Severity.ERROR, "Requested amount of GPU memory (8589934592 bytes)\n")
            self.logger.log(Severity.ERROR, "could not be allocated: OutOfMemory")
            return None
        assert BuilderFlag.TF32 not in config.set
        assert all(layer.attention.decomposable for layer in network.layers)
        monitor = config.progress_monitor
        monitor.phase_start("Building engine", None, 2)
        monitor.phase_start("Optimizing graph", "Building engine", 1)
        assert monitor.step_complete("Optimizing graph", 0)
        monitor.phase_finish("Optimizing graph")
        assert monitor.step_complete("Building engine", 0)
        monitor.phase_finish("Building engine")
        plan = {
            "graph": network.graph,
            "outputs": [tensor.name for tensor in network.outputs],
            "profiles": [profile.shapes for profile in config.profiles],
            "capability": world.capability,
            "stripped": BuilderFlag.STRIP_PLAN in config.set,
            "lean": BuilderFlag.VERSION_COMPATIBLE in config.set,
            "detailed": config.profiling_verbosity == ProfilingVerbosity.DETAILED,
        }
        return memoryview(MAGIC + json.dumps(plan).encode() + MAGIC)


class Runtime:
    __slots__ = ("__weakref__", "_logger", "engine_host_code_allowed")

    def __init__(self, logger: ILogger) -> None:
        assert logger.initialised
        self._logger = logger
        current().live.add(self)
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
        data, world = bytes(serialized_engine), current()
        if not (data.startswith(MAGIC) and data.endswith(MAGIC)):
            self._logger.log(Severity.ERROR, "Magic tag does not match")
            return None
        plan = json.loads(data[len(MAGIC) : -len(MAGIC)])
        if "load" in world.faults or plan["capability"] != world.capability:
            self._logger.log(Severity.ERROR, "The engine plan file is not compatible")
            return None
        assert plan["lean"] == self.engine_host_code_allowed
        engine = ICudaEngine(plan)
        world.live.add(engine)
        return engine


class ICudaEngine:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.session = None if plan["stripped"] else open_session(plan["graph"])

    @property
    def names(self) -> list[str]:
        return [*self.plan["profiles"][0], *self.plan["outputs"]]

    @property
    def num_io_tensors(self) -> int:
        return len(self.names)

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.plan["profiles"])

    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
        return 1000 + profile_index

    def create_execution_context(
        self, strategy: ExecutionContextAllocationStrategy
    ) -> IExecutionContext | None:
        assert strategy == ExecutionContextAllocationStrategy.USER_MANAGED
        world = current()
        if "context" in world.faults:
            return None
        context = IExecutionContext(self)
        world.live.add(context)
        return context

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self)


class EngineInspector:
    def __init__(self, engine: ICudaEngine) -> None:
        self.engine = engine

    def get_engine_information(self, format: LayerInformationFormat) -> str:  # noqa: A002
        assert format == LayerInformationFormat.JSON
        assert self.engine.plan["detailed"]
        fused = {
            "Name": "_gemm_mha_v2_myl0_1",
            "LayerType": "kgen",
            "Metadata": "[ONNX Layer: layers.0/MatMul_5]\x1e[ONNX Layer: layers.0/Softmax_7]",
            "Outputs": [{"Name": "x", "Dimensions": [1, 2], "Format/Datatype": "Half"}],
        }
        return json.dumps({"Layers": [fused], "Bindings": self.engine.names})


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self.engine = engine
        self.memory = 0
        self.profile: int | None = None
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= 1000 + len(self.engine.plan["profiles"]) - 1
        self.memory = memory

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self.profile = profile_index
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        world = current()
        world.bound += 1
        low, _, high = self.engine.plan["profiles"][self.profile][name]
        fits = all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))
        if fits and "shape" not in world.faults:
            self.shapes[name] = shape
        return fits and "shape" not in world.faults

    def set_tensor_address(self, name: str, memory: int) -> bool:
        current().bound += 1
        self.addresses[name] = memory
        return memory != 0 and name in self.engine.names

    def execute_async_v3(self, stream_handle: int) -> bool:
        world = current()
        if "run" in world.faults:
            return False
        assert self.memory
        assert set(self.addresses) == set(self.engine.names)
        addresses, shapes = dict(self.addresses), dict(self.shapes)
        session, outputs = self.engine.session, self.engine.plan["outputs"]

        def work() -> None:
            world.runs += 1
            execute(session, outputs, addresses, shapes)

        world.enqueue(work)
        return True


class Refitter:
    def __init__(self, engine: ICudaEngine, logger: ILogger) -> None:
        self.engine = engine

    def refit_cuda_engine(self) -> bool:
        return self.engine.session is not None


class OnnxParserRefitter:
    def __init__(self, refitter: Refitter, logger: ILogger) -> None:
        self.refitter, self.logger = refitter, logger

    def refit_from_file(self, model: str) -> bool:
        if "refit" in current().faults:
            self.logger.log(Severity.ERROR, "weights differ")
            return False
        self.refitter.engine.session = open_session(model)
        return True


CLASSES = (
    *(ILogger, IProgressMonitor, NetworkDefinitionCreationFlag, BuilderFlag, ProfilingVerbosity),
    *(ExecutionContextAllocationStrategy, LayerInformationFormat, ITimingCache),
    *(IOptimizationProfile, IBuilderConfig, INetworkDefinition, OnnxParser, ParserError, Builder),
    *(Runtime, ICudaEngine, EngineInspector, IExecutionContext, Refitter, OnnxParserRefitter),
)
LATER = (IAttentionBoundaryLayer, IAttention)


def fake_tensorrt(version: str, world: World | None = None) -> ModuleType:
    """A module of that version, in a world of its own; what was added later is not in it."""
    module = ModuleType("tensorrt")
    module.__dict__["__version__"] = version
    later = tuple(map(int, version.split(".")[:2])) >= _SINCE_ATTENTION
    for cls in (*CLASSES, *(LATER if later else ())):
        setattr(module, cls.__name__, cls)
    _CURRENT[:] = [world or World()]
    current().attention = later
    return module


def open_session(model: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(Path(model)), sess_options=options, providers=["CPUExecutionProvider"]
    )


_TYPES = {
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
}


def execute(
    session: Any, outputs: list[str], addresses: dict[str, int], shapes: dict[str, Any]
) -> None:
    """Runs the graph on arrays at addresses."""
    feeds = {
        entry.name: array_at(addresses[entry.name], shapes[entry.name], _TYPES[entry.type]).copy()
        for entry in session.get_inputs()
    }
    for name, value in zip(outputs, session.run(outputs, feeds), strict=True):
        array_at(addresses[name], value.shape, value.dtype)[...] = value


def array_at(address: int, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if not size:
        return np.zeros(shape, dtype=dtype)
    memory = (ctypes.c_uint8 * size).from_address(address)
    return np.frombuffer(memory, dtype=dtype).reshape(shape)
