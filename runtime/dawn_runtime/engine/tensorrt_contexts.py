"""Execution contexts of an engine: one for each profile, in one piece of memory, on one stream.

TensorRT keeps what it needs between two layers in memory that we give it. Contexts of all profiles
share one piece, as large as the hungriest of them wants it, because they run one after another.

A kind of run is one set of shapes and addresses, known by a key. The first run of a kind sets them
and starts the engine; the second is recorded as a CUDA graph, which every later one repeats with a
single call. Only the most recent kinds are kept.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

from dawn_runtime.cuda import Device
from dawn_runtime.engine.tensorrt_loading import LoadedEngine

MOST_GRAPHS: Final = 32
"""Kinds of runs that are remembered; a generation has a few for each block."""


@dataclass(frozen=True, slots=True)
class Bindings:
    """Shapes and addresses of one kind of run.

    Attributes:
        profile: Number of the optimisation profile.
        shapes: Input -> shape, in the order of the contract.
        addresses: Input or output -> address on the device.
    """

    profile: int
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    addresses: tuple[tuple[str, int], ...]


class Contexts:
    """Runs an engine.

    Args:
        loaded: The engine.
        device: Where it runs.

    Raises:
        EngineError: Not enough memory.
    """

    def __init__(self, loaded: LoadedEngine, device: Device) -> None:
        self._loaded, self._device = loaded, device
        engine = loaded.engine
        profiles = range(engine.num_optimization_profiles)
        size = max(engine.get_device_memory_size_for_profile_v2(i) for i in profiles)
        self._memory = device.allocate((max(int(size), 1),), "uint8")
        self._contexts: dict[int, Any] = {}
        self._bound: dict[int, Hashable] = {}
        self._graphs: OrderedDict[Hashable, Callable[[], None] | None] = OrderedDict()

    def enqueue(self, key: Hashable, bindings: Callable[[], Bindings]) -> None:
        """Starts a run on the stream of the device, without waiting for it.

        Args:
            key: Equal for runs of equal bindings, and for those alone.
            bindings: Makes them; called only where they must be set.

        Raises:
            EngineError: TensorRT refuses a shape or an address, or cannot start.
        """
        graph = self._graphs.get(key)
        if graph is not None:
            self._graphs.move_to_end(key)
            graph()
            return
        context = self._bind(key, bindings())
        if key in self._graphs and _can_record(context, self._device.stream):
            graph = self._device.record(lambda: self._start(context))
            self._remember(key, graph)
            graph()
            return
        # Also what TensorRT asks for before a recording: one run after shapes have changed.
        self._start(context)
        self._remember(key, None)

    def close(self) -> None:
        """Frees graphs and contexts, in this order."""
        self._graphs.clear()
        self._bound.clear()
        self._contexts.clear()

    def _start(self, context: Any) -> None:
        if not context.execute_async_v3(self._device.stream):
            raise self._loaded.fail("run the engine")

    def _remember(self, key: Hashable, graph: Callable[[], None] | None) -> None:
        self._graphs[key] = graph
        self._graphs.move_to_end(key)
        while len(self._graphs) > MOST_GRAPHS:
            self._graphs.popitem(last=False)

    def _bind(self, key: Hashable, bindings: Bindings) -> Any:
        """Sets shapes and addresses where they differ from those of the last run."""
        context = self._context(bindings.profile)
        if self._bound.get(bindings.profile) == key:
            return context
        self._bound.pop(bindings.profile, None)
        for name, shape in bindings.shapes:
            if not context.set_input_shape(name, shape):
                raise self._loaded.fail(f"set {name} to shape {shape}")
        for name, address in bindings.addresses:
            if not context.set_tensor_address(name, address):
                raise self._loaded.fail(f"set the address of {name}")
        self._bound[bindings.profile] = key
        return context

    def _context(self, profile: int) -> Any:
        if profile not in self._contexts:
            self._contexts[profile] = self._create(profile)
        return self._contexts[profile]

    def _create(self, profile: int) -> Any:
        strategies = self._loaded.trt.module.ExecutionContextAllocationStrategy
        context = self._loaded.engine.create_execution_context(strategies.USER_MANAGED)
        if context is None:
            raise self._loaded.fail(f"make a context of profile {profile}")
        context.set_device_memory(self._memory.pointer, self._memory.nbytes)
        if not context.set_optimization_profile_async(profile, self._device.stream):
            raise self._loaded.fail(f"choose profile {profile}")
        return context


def _can_record(context: Any, stream: int) -> bool:
    """TensorRT for RTX compiles kernels while it runs, and says when that rules a recording out."""
    asked = getattr(context, "is_stream_capturable", None)
    return asked is None or bool(asked(stream))
