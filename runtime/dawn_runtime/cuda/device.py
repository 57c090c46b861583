"""What decoding next to an engine asks of a device: memory, copies and kernels on one stream.

`CudaDevice` is the one for NVIDIA GPUs; the tests have one over host memory, with the same kernels
compiled by a C++ compiler.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dawn_runtime.cuda.arrays import DeviceArray

Argument = DeviceArray | np.int32 | np.int64 | np.float32
"""What a kernel takes; numbers say their type."""

KERNELS = {
    "key_means": "choose",
    "choose": "choose",
    "kv_write": "kv",
    "kv_gather": "kv",
}
"""Kernel -> the `.cu` file of this folder that holds it."""


class Device(Protocol):
    """Memory and one stream, on which everything runs in the order in which it was asked for.

    Attributes:
        kind: What ONNX Runtime calls its memory: `cuda` or `cpu`.
        ordinal: Number of the device.
        stream: Handle of the stream, 0 where there is none.
    """

    kind: str
    ordinal: int
    stream: int

    def allocate(self, shape: tuple[int, ...], dtype: str) -> DeviceArray:
        """Returns an array of zeros; its memory is freed with its owner, or at `close`.

        Raises:
            EngineError: There is not enough memory.
        """

    def host_array(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Returns zeros in host memory that `download` fills without waiting."""

    def upload(self, target: DeviceArray, array: NDArray[Any]) -> None:
        """Copies an array of equal type and size to the device.

        It may be changed afterwards; one of `host_array` only after `synchronize`.
        """

    def download(self, target: NDArray[Any], source: DeviceArray) -> None:
        """Copies to the host; what arrives is there after `synchronize`."""

    def launch(
        self, kernel: str, grid: tuple[int, int], threads: int, arguments: tuple[Argument, ...]
    ) -> None:
        """Starts a kernel of `KERNELS` on grid[0] x grid[1] blocks."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Returns what repeats the launches and copies of `work`, which is not run by this.

        Args:
            work: Launches kernels and copies between memory that exists; allocates nothing.
        """

    def mark(self, number: int) -> None:
        """Notes the time at this point of the stream, under one of a few numbers from 0 on."""

    def seconds(self, first: int, second: int) -> float:
        """Returns the time from one mark to another, both passed."""

    def synchronize(self) -> None:
        """Waits until everything asked for is done.

        Raises:
            EngineError: Some of it failed, or the device is lost.
        """

    def close(self) -> None:
        """Frees everything. Closing twice is allowed."""
