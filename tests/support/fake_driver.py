"""The CUDA driver API as far as `CudaDevice` uses it, over host memory.

Calls are checked against the signatures that the bindings of cuda-python document; a call of a
function that does not exist there, or with another number of arguments, fails the test.
"""

import ctypes
import re
import threading
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from dawn_runtime.cuda import KERNELS
from support.host_device import run_grid


class Status(int):
    """A CUresult."""

    name = "CUDA_SUCCESS"


def failure(name: str) -> Status:
    status = Status(1)
    status.name = name
    return status


def documented(name: str) -> int | None:
    """Number of arguments by the docstring of the real binding; None if that is not installed."""
    try:
        from cuda.bindings import driver
    except ImportError:
        return None
    first = (getattr(driver, name).__doc__ or "").splitlines()[0]
    arguments = re.fullmatch(rf"{name}\((.*)\)", first)
    assert arguments, first
    return len(arguments[1].split(",")) if arguments[1] else 0


class InvalidatedError(Exception):
    """What was captured cannot be a graph."""


class FakeDriver:
    """Memory is host memory; kernels are those compiled for the host.

    Attributes:
        calls: Names of all calls.
        failing: Name of a function -> name of the CUresult it returns from now on.
        memory: Live allocations by address.
        late: Whether copies to the device read their source as late as CUDA allows them to.
        version: Newest CUDA it runs, as cuDriverGetVersion gives it.
    """

    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)
    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR=75,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR=76,
    )

    def __init__(self, libraries: dict[str, ctypes.CDLL]) -> None:
        self._libraries = libraries
        self._captured: list[Callable[[], None]] | None = None
        self._clock = 0.0
        self.calls: list[str] = []
        self.failing: dict[str, str] = {}
        self.memory: dict[int, Any] = {}
        self.late = False
        self._spoilt = False
        self._capturing = 0
        self._queue: list[Callable[[], None]] = []
        self._entered = threading.local()
        self.version = 12060

    def __getattr__(self, name: str) -> Callable[..., tuple[Any, ...]]:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments: Any) -> tuple[Any, ...]:
            expected = documented(name)
            assert expected in (None, len(arguments)), f"{name} takes {expected} arguments"
            self.calls.append(name)
            if name in self.failing:
                return failure(self.failing[name]), *[None] * (name in _WITH_RESULT)
            if name == "cuMemGetInfo":
                return Status(0), 1 << 30, 1 << 33
            try:
                result = getattr(self, f"_{name}", lambda *_: 1)(*arguments)
            except InvalidatedError:
                return failure("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"), None
            return (Status(0), result) if name in _WITH_RESULT else (Status(0),)

        return call

    def _do(self, work: Callable[[], None]) -> None:
        if self._captured is None:
            work()
        else:
            self._captured.append(work)

    def _cuDriverGetVersion(self) -> int:  # noqa: N802
        return self.version

    def _cuDeviceGetAttribute(self, attribute: int, _: Any) -> int:  # noqa: N802
        return {75: 8, 76: 7}[attribute]

    def _cuMemAlloc(self, size: int) -> int:  # noqa: N802
        assert self._captured is None, "memory cannot be allocated while capturing"
        buffer = np.full(size, 0xAB, dtype=np.uint8)
        self.memory[buffer.ctypes.data] = buffer
        return buffer.ctypes.data

    _cuMemAllocHost = _cuMemAlloc  # noqa: N815

    def _cuMemFree(self, pointer: int) -> None:  # noqa: N802
        """Without a context in its thread, or while that captures, nothing is freed."""
        if not hasattr(self._entered, "context"):
            return
        if self._captured is not None and self._capturing == threading.get_ident():
            self._spoilt = True
            return
        del self.memory[pointer]

    def _cuCtxSetCurrent(self, context: Any) -> None:  # noqa: N802
        self._entered.context = context

    _cuMemFreeHost = _cuMemFree  # noqa: N815

    def _cuMemsetD8Async(self, pointer: int, value: int, size: int, _: Any) -> None:  # noqa: N802
        self._do(lambda: ctypes.memset(pointer, value, size))

    def _cuMemcpyHtoDAsync(self, to: int, source: int, size: int, _: Any) -> None:  # noqa: N802
        assert self._captured is None, "what is uploaded may be gone when the graph is launched"
        assert size > 0
        if self.late:
            self._queue.append(lambda: ctypes.memmove(to, source, size))
        else:
            ctypes.memmove(to, source, size)

    def _cuStreamSynchronize(self, _: Any) -> None:  # noqa: N802
        for work in self._queue:
            work()
        self._queue.clear()

    def _cuMemcpyDtoHAsync(self, to: int, source: int, size: int, _: Any) -> None:  # noqa: N802
        assert size > 0
        self._do(lambda: ctypes.memmove(to, source, size))

    def _cuModuleLoadData(self, image: bytes) -> str:  # noqa: N802
        assert self._captured is None, "modules cannot be loaded while capturing"
        return image.decode()

    def _cuModuleGetFunction(self, module: str, name: bytes) -> Any:  # noqa: N802
        assert KERNELS[name.decode()] == module
        return partial(run_grid, self._libraries[module], name.decode())

    def _cuLaunchKernel(self, function: Any, *rest: Any) -> None:  # noqa: N802
        x, y, z, threads, *one, shared, _, (values, types), extra = rest
        assert (z, one, shared, extra) == (1, [1, 1], 0, 0)
        assert min(x, y) >= 1, "a grid has a block in every direction"
        assert 1 <= threads <= 1024
        packed = [kind(value) for kind, value in zip(types, values, strict=True)]

        self._do(lambda: function((x, y), packed))

    def _cuStreamBeginCapture(self, *_: Any) -> None:  # noqa: N802
        assert self._captured is None, "a stream is captured once at a time"
        self._captured, self._spoilt, self._capturing = [], False, threading.get_ident()

    def _cuStreamEndCapture(self, _: Any) -> Any:  # noqa: N802
        captured, self._captured = self._captured, None
        if self._spoilt:
            raise InvalidatedError
        return captured

    def _cuGraphInstantiate(self, graph: Any, _: int) -> Any:  # noqa: N802
        return graph

    def _cuGraphLaunch(self, graph: Any, _: Any) -> None:  # noqa: N802
        for work in graph:
            work()

    def _cuEventElapsedTime(self, *_: Any) -> float:  # noqa: N802
        return 1.5


_WITH_RESULT = {
    *(
        "cuDriverGetVersion",
        "cuDeviceGet",
        "cuDevicePrimaryCtxRetain",
        "cuStreamCreate",
        "cuEventCreate",
    ),
    *("cuMemAlloc", "cuMemAllocHost", "cuModuleLoadData", "cuModuleGetFunction"),
    *("cuStreamEndCapture", "cuGraphInstantiate", "cuEventElapsedTime", "cuDeviceGetAttribute"),
}
