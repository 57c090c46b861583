"""The half of the fake TensorRT that parses graphs and builds plans.

A plan is JSON; a network is the list of names of a graph's outputs.
"""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace
from typing import Any

from support.fake_tensorrt_world import (
    MAGIC,
    BuilderFlag,
    ILogger,
    NetworkDefinitionCreationFlag,
    ProfilingVerbosity,
    Severity,
    current,
    open_session,
)


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


def take_steps(monitor: Any) -> bool:
    """Reports progress as a build does, from a thread of its own; tells whether all was done.

    The thread that asked for the build waits, as in C++, without a Python instruction.
    """
    going = []

    def work() -> None:
        monitor.phase_start("Building engine", None, 2)
        monitor.phase_start("Optimizing graph", "Building engine", 1)
        current().during_build()
        going.append(monitor.step_complete("Optimizing graph", 0))
        monitor.phase_finish("Optimizing graph")
        if going[-1]:
            going.append(monitor.step_complete("Building engine", 0))
        monitor.phase_finish("Building engine")

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    return all(going)


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
        if not take_steps(config.progress_monitor):
            self.logger.log(Severity.ERROR, "The build was cancelled by the progress monitor")
            return None
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
