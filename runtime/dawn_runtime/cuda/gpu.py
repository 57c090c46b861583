"""An NVIDIA GPU as a `Device`, through the driver API of cuda-python.

The primary context is used, the one that ONNX Runtime and TensorRT use too, and one stream of its
own. Functions as in the CUDA Driver API.
"""

import ctypes
import threading
import weakref
from collections.abc import Callable
from importlib import import_module
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dawn_runtime.cuda.arrays import DeviceArray
from dawn_runtime.cuda.device import KERNELS, Argument
from dawn_runtime.cuda.kernels import check_nvrtc, cubin, nvrtc_remedy, nvrtc_version
from dawn_runtime.errors import DependencyError, EngineError

_NON_BLOCKING: Final = 1
"""CU_STREAM_NON_BLOCKING: nobody else's work on the default stream is waited for."""

_MARKS: Final = 2
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
        self._context: Any = None
        self._memory: dict[int, str] = {}
        self._functions: dict[str, Any] = {}
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
        pointer = int(self._call("cuMemAlloc", size))
        self._memory[pointer] = "cuMemFree"
        self._call("cuMemsetD8Async", pointer, 0, size, self._stream)
        return DeviceArray(pointer, shape, dtype, _Memory(self, pointer))

    def host_array(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Returns zeros in page-locked memory; see `Device.host_array`."""
        size = max(prod(shape) * np.dtype(dtype).itemsize, 1)
        pointer = int(self._call("cuMemAllocHost", size))
        self._memory[pointer] = "cuMemFreeHost"
        memory = (ctypes.c_uint8 * size).from_address(pointer)
        weakref.finalize(memory, self.free, pointer).atexit = False
        array: NDArray[Any] = np.ctypeslib.as_array(memory)
        array[...] = 0
        return array[: prod(shape) * np.dtype(dtype).itemsize].view(dtype).reshape(shape)

    def upload(self, target: DeviceArray, array: NDArray[Any]) -> None:
        """Copies to the device; see `Device.upload`."""
        source = np.ascontiguousarray(array, dtype=target.dtype)
        _check_size(target, source)
        # From pageable memory: the driver takes its own copy before the call returns.
        self._call(
            "cuMemcpyHtoDAsync", target.pointer, source.ctypes.data, source.nbytes, self._stream
        )

    def download(self, target: NDArray[Any], source: DeviceArray) -> None:
        """Copies to the host; see `Device.download`."""
        _check_size(source, target)
        self._call(
            "cuMemcpyDtoHAsync", target.ctypes.data, source.pointer, target.nbytes, self._stream
        )

    def launch(
        self, kernel: str, grid: tuple[int, int], threads: int, arguments: tuple[Argument, ...]
    ) -> None:
        """Starts a kernel; see `Device.launch`."""
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
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        for name in KERNELS:
            self._function(name)  # loading a module is not allowed while capturing
        self._call("cuStreamBeginCapture", self._stream, mode)
        try:
            work()
        finally:
            graph = self._call("cuStreamEndCapture", self._stream)
        executable = self._call("cuGraphInstantiate", graph, 0)
        self._call("cuGraphDestroy", graph)
        return _Recording(self, executable)

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
        self._call("cuStreamSynchronize", self._stream)

    def free(self, pointer: int) -> None:
        """Frees memory of the device or the host, unless it is freed already."""
        name = self._memory.pop(pointer, None)
        if name is not None:
            # Its status says how earlier work on the device ended, which `synchronize` reports.
            getattr(self._driver, name)(pointer)

    def close(self) -> None:
        """Frees everything; see `Device.close`."""
        if self._closed:
            return
        self._closed = True
        for pointer in list(self._memory):
            self.free(pointer)
        for mark in self._marks:
            self._driver.cuEventDestroy(mark)
        self._driver.cuStreamDestroy(self._stream)
        self._driver.cuDevicePrimaryCtxRelease(self._gpu)

    def destroy(self, executable: Any) -> None:
        """Frees a graph made by `record`, unless the device is closed."""
        if not self._closed:
            self._driver.cuGraphExecDestroy(executable)

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
            for name in [name for name, other in KERNELS.items() if other == file]:
                self._functions[name] = self._call("cuModuleGetFunction", module, name.encode())
        return self._functions[kernel]

    def _call(self, name: str, *arguments: Any) -> Any:
        """Calls the driver and returns its first result, None if it has none."""
        results = self._call_all(name, *arguments)
        return results[0] if results else None

    def _call_all(self, name: str, *arguments: Any) -> list[Any]:
        """Calls the driver and returns its results."""
        if self._closed:
            raise EngineError("cuda: the device is closed; open the artifact again")
        if self._context is not None and not hasattr(self._here, "entered"):
            self._driver.cuCtxSetCurrent(self._context)  # a context is current thread by thread
            self._here.entered = True
        results: list[Any]
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
    try:
        driver = import_module("cuda.bindings.driver")
    except ImportError as error:
        raise DependencyError(
            "a GPU needs cuda-python, which is not installed; pip install 'dawn-edge[tensorrt]', "
            "or 'dawn-edge[tensorrt-cu12]' for a driver of CUDA 12"
        ) from error
    try:
        driver.cuDriverGetVersion()
    except RuntimeError as error:  # what cuda-python raises without libcuda
        raise DependencyError(
            "a GPU needs the NVIDIA driver, which is not found on this machine; "
            "install it, or use engine='onnxruntime-cpu'"
        ) from error
    return driver
