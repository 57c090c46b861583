"""An NVIDIA GPU as a `Device`, through the driver API of cuda-python.

The primary context is used, the one that ONNX Runtime and TensorRT use too, and one stream of its
own. Functions as in the CUDA Driver API.

Threads may share a device: what one of them records is not mixed with what others ask for, who wait
meanwhile. Memory may be given up anywhere at any time, by the garbage collector too.
"""

import ctypes
import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from importlib import import_module
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dawn_runtime.cuda.arrays import DeviceArray
from dawn_runtime.cuda.device import KERNELS, Argument
from dawn_runtime.cuda.kernels import check_nvrtc, cubin, nvrtc_remedy, nvrtc_version
from dawn_runtime.errors import DependencyError, EngineError
from dawn_runtime.native import importing

_NON_BLOCKING: Final = 1
"""CU_STREAM_NON_BLOCKING: nobody else's work on the default stream is waited for."""

_MARKS: Final = 2
_MOST_BLOCKS: Final = 65535
"""Of a grid in its second direction; the CUDA C++ Programming Guide, technical specifications."""

_C_TYPES: Final[dict[type, Any]] = {
    np.int32: ctypes.c_int32,
    np.int64: ctypes.c_int64,
    np.float32: ctypes.c_float,
}
_HINTS: Final = {
    "CUDA_ERROR_OUT_OF_MEMORY": "use a shorter answer, a smaller batch or a lower precision",
    "CUDA_ERROR_NO_DEVICE": "check the driver with dawn-doctor, or use engine='onnxruntime-cpu'",
}
_NOT_LOADED: Final = (
    "CUDA_ERROR_INVALID_IMAGE",
    "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
    "CUDA_ERROR_NO_BINARY_FOR_GPU",
    "CUDA_ERROR_INVALID_PTX",
    "CUDA_ERROR_JIT_COMPILER_NOT_FOUND",
)
"""What a driver says to kernels of an NVRTC that does not go with it or with the GPU."""


class CudaDevice:
    """Memory, copies and kernels on one GPU.

    Args:
        ordinal: Number of the GPU.
        driver: Module of the driver API; None is that of cuda-python.

    Attributes:
        capability: Compute capability (SM), such as (8, 7).
        cuda_version: Newest CUDA that the driver runs, such as (12, 6).

    Raises:
        DependencyError: cuda-python or NVRTC is not installed, or there is no driver.
        EngineError: There is no such GPU, the driver refuses it, or NVRTC is too new for it.
    """

    kind = "cuda"

    def __init__(self, ordinal: int = 0, driver: Any = None) -> None:
        self.ordinal = ordinal
        self._driver = driver or _import()
        self._closed = False
        self._here = threading.local()
        self._lock = threading.RLock()
        self._recording = False
        self._unwanted: deque[Callable[[], None]] = deque()
        self._sources: list[NDArray[Any]] = []
        self._context: Any = None
        self._memory: dict[int, str] = {}
        self._pinned: dict[int, int] = {}
        self._functions: dict[str, Any] = {}
        self._modules: list[Any] = []
        self._executables: dict[int, Any] = {}
        self._call("cuInit", 0)
        version = int(self._call("cuDriverGetVersion"))  # 12060 is CUDA 12.6
        self.cuda_version = (version // 1000, version % 1000 // 10)
        check_nvrtc(nvrtc_version(), self.cuda_version)
        self._gpu = self._call("cuDeviceGet", ordinal)
        self._context = self._call("cuDevicePrimaryCtxRetain", self._gpu)
        self._stream = self._call("cuStreamCreate", _NON_BLOCKING)
        self._marks = [self._call("cuEventCreate", 0) for _ in range(_MARKS)]
        self.stream = int(self._stream)
        self.capability = self._capability()

    def allocate(self, shape: tuple[int, ...], dtype: str) -> DeviceArray:
        """Returns an array of zeros; see `Device.allocate`."""
        empty = DeviceArray(0, shape, dtype)
        size = max(empty.nbytes, 1)
        self._free_unwanted()
        pointer = int(self._call("cuMemAlloc", size))
        self._memory[pointer] = "cuMemFree"
        self._call("cuMemsetD8Async", pointer, 0, size, self._stream)
        return DeviceArray(pointer, shape, dtype, _Memory(self, pointer))

    def host_array(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Returns zeros in page-locked memory; see `Device.host_array`."""
        size = max(prod(shape) * np.dtype(dtype).itemsize, 1)
        pointer = int(self._call("cuMemAllocHost", size))
        self._memory[pointer] = "cuMemFreeHost"
        self._pinned[pointer] = size
        memory = (ctypes.c_uint8 * size).from_address(pointer)
        weakref.finalize(memory, self.free, pointer).atexit = False
        array: NDArray[Any] = np.ctypeslib.as_array(memory)
        array[...] = 0
        return array[: prod(shape) * np.dtype(dtype).itemsize].view(dtype).reshape(shape)

    def upload(self, target: DeviceArray, array: NDArray[Any]) -> None:
        """Copies to the device; see `Device.upload`."""
        source = np.ascontiguousarray(array, dtype=target.dtype)
        _check_size(target, source)
        if not source.nbytes:
            return
        if not self._is_pinned(source):
            # Most drivers have copied pageable memory when the call returns. Where the GPU reads
            # such memory itself they need not, and the caller may change or drop it.
            source = source.copy() if np.may_share_memory(source, array) else source
            self._sources.append(source)
        self._call(
            "cuMemcpyHtoDAsync", target.pointer, source.ctypes.data, source.nbytes, self._stream
        )

    def download(self, target: NDArray[Any], source: DeviceArray) -> None:
        """Copies to the host; see `Device.download`."""
        _check_size(source, target)
        if not target.nbytes:
            return
        self._call(
            "cuMemcpyDtoHAsync", target.ctypes.data, source.pointer, target.nbytes, self._stream
        )

    def launch(
        self, kernel: str, grid: tuple[int, int], threads: int, arguments: tuple[Argument, ...]
    ) -> None:
        """Starts a kernel; see `Device.launch`."""
        if grid[1] > _MOST_BLOCKS:
            raise EngineError(
                f"cuda: {kernel} would take {grid[1]} blocks in its second direction, a GPU has at "
                f"most {_MOST_BLOCKS}; decode fewer rows at once"
            )
        values = tuple(a.pointer if isinstance(a, DeviceArray) else a.item() for a in arguments)
        types = tuple(
            ctypes.c_void_p if isinstance(a, DeviceArray) else _C_TYPES[type(a)] for a in arguments
        )
        shape = (*grid, 1, threads, 1, 1)
        packed = (values, types)
        function = self._function(kernel)
        self._call("cuLaunchKernel", function, *shape, 0, self._stream, packed, 0)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Captures the work as a CUDA graph; see `Device.record`."""
        for name in KERNELS:
            self._function(name)  # loading a module is not allowed while capturing
        with self._lock:
            graph = self._capture(work)
        try:
            executable = self._call("cuGraphInstantiate", graph, 0)
        finally:
            self._call("cuGraphDestroy", graph)
        self._executables[id(executable)] = executable
        return _Recording(self, executable)

    def _capture(self, work: Callable[[], None]) -> Any:
        """Returns the graph of the work; whatever happens, the stream is as before."""
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("cuStreamBeginCapture", self._stream, mode)
        self._recording = True
        try:
            work()
        except BaseException:
            # What went wrong first is told, not that it spoilt the recording.
            status, graph = self._driver.cuStreamEndCapture(self._stream)
            if not status and graph is not None:
                self._driver.cuGraphDestroy(graph)
            raise
        else:
            return self._call("cuStreamEndCapture", self._stream)
        finally:
            self._recording = False
            self._free_unwanted()

    def repeat(self, executable: Any) -> None:
        """Launches a graph made by `record`."""
        self._call("cuGraphLaunch", executable, self._stream)

    def memory(self) -> tuple[int, int]:
        """Returns the free and the total bytes of the GPU."""
        free, total = self._call_all("cuMemGetInfo")
        return int(free), int(total)

    def mark(self, number: int) -> None:
        """Notes the time at this point of the stream; see `Device.mark`."""
        self._call("cuEventRecord", self._marks[number], self._stream)

    def seconds(self, first: int, second: int) -> float:
        """Returns the time between marks; see `Device.seconds`."""
        milliseconds = self._call("cuEventElapsedTime", self._marks[first], self._marks[second])
        return 1e-3 * float(milliseconds)

    def synchronize(self) -> None:
        """Waits for the stream; see `Device.synchronize`."""
        sources, self._sources = self._sources, []
        self._call("cuStreamSynchronize", self._stream)
        sources.clear()

    def free(self, pointer: int) -> None:
        """Frees memory of the device or the host, unless it is freed already."""
        self._give_up(partial(self._free, pointer))

    def close(self) -> None:
        """Frees everything; see `Device.close`."""
        with self._lock:
            if self._closed:
                return
            self._enter()
            self._closed = True
            self._free_unwanted()
            for executable in list(self._executables.values()):
                self._destroy(executable)
            for pointer in list(self._memory):
                self._free(pointer)
            # Others hold the context too, so nothing goes with it.
            for module in self._modules:
                self._driver.cuModuleUnload(module)
            for mark in self._marks:
                self._driver.cuEventDestroy(mark)
            self._driver.cuStreamDestroy(self._stream)
            self._driver.cuDevicePrimaryCtxRelease(self._gpu)

    def destroy(self, executable: Any) -> None:
        """Frees a graph made by `record`, unless it is freed already."""
        self._give_up(partial(self._destroy, executable))

    def _give_up(self, free: Callable[[], None]) -> None:
        """Frees something now, or after what is being recorded, which freeing would spoil.

        Waits for nobody, since the garbage collector may call it in the middle of anything.
        """
        self._unwanted.append(free)
        if not self._recording:
            self._free_unwanted()

    def _free_unwanted(self) -> None:
        """Frees what was given up; more of it may be meanwhile, also in other threads."""
        self._enter()
        while self._unwanted and not self._recording:
            try:
                free = self._unwanted.popleft()
            except IndexError:  # another thread was faster
                return
            free()

    def _free(self, pointer: int) -> None:
        name = self._memory.pop(pointer, None)
        self._pinned.pop(pointer, None)
        if name is not None:
            # Its status says how earlier work on the device ended, which `synchronize` reports.
            getattr(self._driver, name)(pointer)

    def _destroy(self, executable: Any) -> None:
        if self._executables.pop(id(executable), None) is not None:
            self._driver.cuGraphExecDestroy(executable)

    def _is_pinned(self, array: NDArray[Any]) -> bool:
        """Whether an array lies in memory of `host_array`."""
        address = int(array.ctypes.data)
        return any(begin <= address < begin + size for begin, size in list(self._pinned.items()))

    def _enter(self) -> None:
        """Makes the context current, which it is thread by thread."""
        if self._context is not None and not self._closed and not hasattr(self._here, "entered"):
            self._driver.cuCtxSetCurrent(self._context)
            self._here.entered = True

    def _capability(self) -> tuple[int, int]:
        names = self._driver.CUdevice_attribute
        major = names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
        minor = names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
        return (
            int(self._call("cuDeviceGetAttribute", major, self._gpu)),
            int(self._call("cuDeviceGetAttribute", minor, self._gpu)),
        )

    def _function(self, kernel: str) -> Any:
        """Returns a kernel, loading every kernel of its file when it is first asked for."""
        if kernel not in self._functions:
            file = KERNELS[kernel]
            module = self._call("cuModuleLoadData", cubin(file, self.capability))
            self._modules.append(module)
            for name in [name for name, other in KERNELS.items() if other == file]:
                self._functions[name] = self._call("cuModuleGetFunction", module, name.encode())
        return self._functions[kernel]

    def _call(self, name: str, *arguments: Any) -> Any:
        """Calls the driver and returns its first result, None if it has none."""
        results = self._call_all(name, *arguments)
        return results[0] if results else None

    def _call_all(self, name: str, *arguments: Any) -> list[Any]:
        """Calls the driver and returns its results."""
        results: list[Any]
        with self._lock:
            if self._closed:
                raise EngineError("cuda: the device is closed; open the artifact again")
            self._enter()
            status, *results = getattr(self._driver, name)(*arguments)
        if status:
            raise EngineError(f"cuda: {name} fails with {status.name}; {self._hint(status.name)}")
        return results

    def _hint(self, result: str) -> str:
        """What to do about a result of the driver."""
        if result in _NOT_LOADED:
            made, runs = (".".join(map(str, v)) for v in (nvrtc_version(), self.cuda_version))
            remedy = nvrtc_remedy(self.cuda_version)
            return f"NVRTC is of CUDA {made}, the driver runs CUDA up to {runs}; {remedy}"
        return _HINTS.get(result, "see dawn-doctor; if the device is lost, open it again")


class _Memory:
    """Frees memory of a device when nobody uses it any more."""

    def __init__(self, device: CudaDevice, pointer: int) -> None:
        weakref.finalize(self, device.free, pointer).atexit = False


class _Recording:
    """A captured graph; calling it launches it."""

    def __init__(self, device: CudaDevice, executable: Any) -> None:
        self._device, self._executable = device, executable
        weakref.finalize(self, device.destroy, executable).atexit = False

    def __call__(self) -> None:
        self._device.repeat(self._executable)


def _check_size(array: DeviceArray, host: NDArray[Any]) -> None:
    if array.nbytes != host.nbytes:
        raise EngineError(
            f"cuda: a copy of {host.dtype} {host.shape} and {array.dtype} {array.shape} "
            f"would move {host.nbytes} and {array.nbytes} bytes; expected the same"
        )


def _import() -> Any:
    """Imports the driver API and makes sure that there is a driver."""
    remedy = (
        "pip install 'dawn-edge[tensorrt]', or 'dawn-edge[tensorrt-cu12]' for a driver of CUDA 12"
    )
    with importing("a GPU needs", "cuda-python", remedy, module="cuda"):
        driver = import_module("cuda.bindings.driver")
    try:
        driver.cuDriverGetVersion()
    except RuntimeError as error:  # what cuda-python raises without libcuda
        raise DependencyError(
            "a GPU needs the NVIDIA driver, which is not found on this machine; "
            "install it, or use engine='onnxruntime-cpu'"
        ) from error
    return driver
