"""Execution contexts of an engine, in one piece of memory, on one stream.

TensorRT keeps what it needs between two layers in memory that we give it. All contexts share one
piece, as large as the hungriest profile wants it, because they run one after another.

A kind of run is one set of shapes and addresses, known by a key. The first run of a kind sets them
and starts the engine. If the next run of the profile is of the same kind, it is recorded as a CUDA
graph, which every later one repeats with a single call: right after a change of shapes nothing may
be recorded. A context that was recorded belongs to its graph and is not changed any more; the next
other kind gets a new one. Only the most recent graphs are kept. What cannot be recorded is started
plainly every time.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from dawn_runtime.cuda import Device
from dawn_runtime.engine.tensorrt.loading import LoadedEngine
from dawn_runtime.errors import EngineError

_LOG: Final = logging.getLogger(__name__)

MOST_GRAPHS: Final = 32
"""Recorded kinds of runs that are kept; a generation has a few for each block."""


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


@dataclass(slots=True)
class _Context:
    """An execution context and the kind of run whose shapes and addresses it has."""

    context: Any
    key: Hashable = None


@dataclass(frozen=True, slots=True)
class _Graph:
    """A recorded kind of run; None if it cannot be recorded."""

    profile: int
    owned: _Context | None = None
    launch: Callable[[], None] | None = None


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
        self._plain: dict[int, _Context] = {}
        self._graphs: OrderedDict[Hashable, _Graph] = OrderedDict()
        self._told = False

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
            if graph.launch is not None:
                graph.launch()
                return
        made = bindings()
        plain = self._context(made.profile)
        if plain.key != key:
            self._bind(plain, key, made)
        elif graph is None and _can_record(plain.context, self._device.stream):
            recorded = self._record(made.profile, plain)
            self._remember(key, recorded)
            if recorded.launch is not None:
                del self._plain[made.profile]
                recorded.launch()
                return
        self._start(plain.context)

    def close(self) -> None:
        """Frees graphs and contexts, in this order."""
        self._graphs.clear()
        self._plain.clear()

    def _start(self, context: Any) -> None:
        if not context.execute_async_v3(self._device.stream):
            raise self._loaded.fail("run the engine")

    def _record(self, profile: int, plain: _Context) -> _Graph:
        """Records a run that has been started before with these shapes."""
        try:
            launch = self._device.record(partial(self._start, plain.context))
        except EngineError as error:
            if not self._told:
                _LOG.warning("runs are started one by one, which takes longer: %s", error)
                self._told = True
            return _Graph(profile)
        return _Graph(profile, plain, launch)

    def _remember(self, key: Hashable, graph: _Graph) -> None:
        self._graphs[key] = graph
        while len(self._graphs) > MOST_GRAPHS:
            self._graphs.popitem(last=False)

    def _bind(self, plain: _Context, key: Hashable, bindings: Bindings) -> None:
        """Sets shapes and addresses."""
        plain.key = None
        for name, shape in bindings.shapes:
            if not plain.context.set_input_shape(name, shape):
                raise self._loaded.fail(f"set {name} to shape {shape}")
        for name, address in bindings.addresses:
            if not plain.context.set_tensor_address(name, address):
                raise self._loaded.fail(f"set the address of {name}")
        plain.key = key

    def _context(self, profile: int) -> _Context:
        """Returns the context of a profile that belongs to no graph."""
        if profile not in self._plain:
            context = self._create(profile) or self._take_back(profile)
            if context is None:
                raise self._loaded.fail(f"make a context of profile {profile}")
            self._plain[profile] = context
        return self._plain[profile]

    def _create(self, profile: int) -> _Context | None:
        """Returns a new context, None if TensorRT has no memory for it."""
        strategies = self._loaded.trt.module.ExecutionContextAllocationStrategy
        context = self._loaded.engine.create_execution_context(strategies.USER_MANAGED)
        if context is None:
            return None
        context.set_device_memory(self._memory.pointer, self._memory.nbytes)
        if not context.set_optimization_profile_async(profile, self._device.stream):
            raise self._loaded.fail(f"choose profile {profile}")
        return _Context(context)

    def _take_back(self, profile: int) -> _Context | None:
        """Gives up the oldest graph of a profile for its context."""
        for key, graph in self._graphs.items():
            if graph.profile == profile and graph.owned is not None:
                del self._graphs[key]
                return _Context(graph.owned.context)
        return None


def _can_record(context: Any, stream: int) -> bool:
    """TensorRT for RTX compiles kernels while it runs, and says when that rules a recording out."""
    asked = getattr(context, "is_stream_capturable", None)
    return asked is None or bool(asked(stream))
