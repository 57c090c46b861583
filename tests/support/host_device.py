"""A `Device` over host memory, with the kernels of `dawn_runtime/cuda` as plain C++."""

import ctypes
import itertools
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dawn_runtime.cuda import KERNELS, Argument, Device, DeviceArray
from dawn_runtime.cuda.kernels import source

SHIM = Path(__file__).with_name("cuda_shim.h")
C_TYPES: dict[type, Any] = {
    np.int32: ctypes.c_int32,
    np.int64: ctypes.c_int64,
    np.float32: ctypes.c_float,
}


def compile_for_host(folder: Path) -> dict[str, ctypes.CDLL]:
    """Compiles every `.cu` file into a library of its own."""
    libraries = {}
    for name in sorted(set(KERNELS.values())):
        text, library = folder / f"{name}.cu", folder / f"{name}.so"
        text.write_bytes(source(name))
        flags = [
            "-O2",
            "-std=c++17",
            "-ffp-contract=off",
            "-shared",
            "-fPIC",
            "-pthread",
            "-Werror",
        ]
        sources = ["-x", "c++", "-include", str(SHIM), str(text), "-o", str(library)]
        done = subprocess.run(
            ["g++", *flags, *sources], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        libraries[name] = ctypes.CDLL(str(library))
    return libraries


def run_grid(
    library: ctypes.CDLL, kernel: str, grid: tuple[int, int], values: Sequence[Any]
) -> None:
    """Runs a kernel block after block, each of one thread."""
    function = getattr(library, kernel)
    function.restype = None
    for x, y in itertools.product(range(grid[0]), range(grid[1])):
        library.enter_block(*grid, x, y)
        function(*values)


class HostDevice:
    """Runs everything at once, each block with one thread.

    Args:
        libraries: From `compile_for_host`.

    Attributes:
        launched: Names of the kernels that ran.
        copies: Bytes of each copy to the host.
    """

    kind, ordinal, stream = "cpu", 0, 0

    def __init__(self, libraries: dict[str, ctypes.CDLL]) -> None:
        self._libraries = libraries
        self._marks = [0.0, 0.0]
        self.launched: list[str] = []
        self.copies: list[int] = []

    def allocate(self, shape: tuple[int, ...], dtype: str) -> DeviceArray:
        owner = np.zeros(max(DeviceArray(0, shape, dtype).nbytes, 1), dtype=np.uint8)
        return DeviceArray(owner.ctypes.data, shape, dtype, owner)

    def host_array(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        return np.zeros(shape, dtype=dtype)

    def upload(self, target: DeviceArray, array: NDArray[Any]) -> None:
        array = np.ascontiguousarray(array, dtype=target.dtype)
        assert array.nbytes == target.nbytes
        ctypes.memmove(target.pointer, array.ctypes.data, array.nbytes)

    def download(self, target: NDArray[Any], source: DeviceArray) -> None:
        assert target.nbytes == source.nbytes
        self.copies.append(target.nbytes)
        ctypes.memmove(target.ctypes.data, source.pointer, source.nbytes)

    def launch(
        self, kernel: str, grid: tuple[int, int], threads: int, arguments: tuple[Argument, ...]
    ) -> None:
        self.launched.append(kernel)
        values = [
            ctypes.c_void_p(a.pointer) if isinstance(a, DeviceArray) else C_TYPES[type(a)](a.item())
            for a in arguments
        ]
        run_grid(self._libraries[KERNELS[kernel]], kernel, grid, values)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        return work

    def mark(self, number: int) -> None:
        self._marks[number] = time.perf_counter()

    def seconds(self, first: int, second: int) -> float:
        return self._marks[second] - self._marks[first]

    def synchronize(self) -> None:
        """Nothing is ever under way."""

    def close(self) -> None:
        """Memory belongs to its arrays."""


def put(device: Device, array: NDArray[Any]) -> DeviceArray:
    """Returns a copy of an array on a device."""
    target = device.allocate(array.shape, array.dtype.name)
    device.upload(target, array)
    return target


def get(device: Device, array: DeviceArray) -> NDArray[Any]:
    """Returns a copy of an array of a device."""
    target = np.zeros(array.shape, dtype=array.dtype)
    device.download(target, array)
    device.synchronize()
    return target
