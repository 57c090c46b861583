"""Named arrays that are allocated once and grow when they must, on a device or on the host."""

from dataclasses import dataclass, field
from math import prod
from typing import Any

from numpy.typing import NDArray

from dawn_runtime.cuda.arrays import DeviceArray
from dawn_runtime.cuda.device import Device


@dataclass(slots=True, eq=False)
class Pool:
    """Arrays by name; an array keeps its address until a larger one of its name is asked for.

    Attributes:
        device: Where they are, or whose copies they take.
    """

    device: Device
    _arrays: dict[str, DeviceArray] = field(default_factory=dict)
    _host: dict[str, NDArray[Any]] = field(default_factory=dict)

    def get(self, name: str, shape: tuple[int, ...], dtype: str) -> DeviceArray:
        """Returns the array of a name in a shape; what it holds is undefined.

        Args:
            name: Name; always used with the same type.
            shape: Wanted shape.
            dtype: NumPy name of the element type, or `bfloat16`.

        Raises:
            EngineError: Not enough memory.
        """
        there = self._arrays.get(name)
        if there is None or prod(there.shape) < prod(shape):
            there = self.device.allocate((max(prod(shape), 1),), dtype)
            self._arrays[name] = there
        return there.view(shape)

    def fetch(self, name: str, source: DeviceArray) -> NDArray[Any]:
        """Sends for an array; returns where it is after `synchronize`, until the next of its name.

        Args:
            name: Name; always used with the same type.
            source: On the device.

        Raises:
            EngineError: Not enough memory.
        """
        size, there = prod(source.shape), self._host.get(name)
        if there is None or there.size < size:
            # Page-locked memory takes long to get, and answers grow block by block.
            room = max(size, 1 if there is None else 2 * there.size)
            there = self._host[name] = self.device.host_array((room,), source.dtype)
        target: NDArray[Any] = there[:size].reshape(source.shape)
        self.device.download(target, source)
        return target
