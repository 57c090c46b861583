"""The half of the fake TensorRT that loads, refits and runs plans, with ONNX Runtime underneath."""

from __future__ import annotations

import ctypes
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from support.fake_tensorrt_world import (
    MAGIC,
    DataType,
    ExecutionContextAllocationStrategy,
    ILogger,
    LayerInformationFormat,
    Severity,
    TensorIOMode,
    TensorLocation,
    current,
    open_session,
)


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

    def get_tensor_dtype(self, name: str) -> DataType:
        graph = self.session or open_session(self.plan["graph"])
        entries = {entry.name: entry.type for entry in (*graph.get_inputs(), *graph.get_outputs())}
        return self._changed(name, DataType[_DATA_TYPES[entries[name]]])

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        there = TensorIOMode.OUTPUT if name in self.plan["outputs"] else TensorIOMode.INPUT
        return self._changed(name, there)

    def get_tensor_location(self, name: str) -> TensorLocation:
        return self._changed(name, TensorLocation.DEVICE)

    def _changed(self, name: str, value: Any) -> Any:
        other = current().changed.get(name)
        return other if type(other) is type(value) else value

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
        self.reshaped = False
        self.recorded: set[Any] = set()

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
            self.reshaped |= self.shapes.get(name) != shape
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
        if world.recording():
            if "capture" in world.faults:
                return False
            world.captures.append(self.reshaped)
            self.recorded.add(tuple(sorted(self.shapes.items())))
            assert len(self.recorded) == 1, "graphs of different shapes share a context"
        self.reshaped = False
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


_DATA_TYPES = {
    "tensor(int64)": "INT64",
    "tensor(bool)": "BOOL",
    "tensor(float)": "FLOAT",
    "tensor(float16)": "HALF",
    "tensor(bfloat16)": "BF16",
    "tensor(uint8)": "UINT8",
}

_TYPES = {
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
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
