"""Arrays that travel together: one copy to a device, and one back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dawn_runtime.cuda.arrays import DeviceArray, aligned
from dawn_runtime.cuda.device import Device


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an array lies: its first byte, the one after its last, and what it is."""

    begin: int
    end: int
    shape: tuple[int, ...]
    dtype: str


class Parcel:
    """Arrays behind one another, on a device and in host memory that copies need not wait for.

    Memory grows when it must and then stays, so equal layouts have equal addresses.

    Args:
        device: The device.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._places: dict[str, _Place] = {}
        self._memory: DeviceArray | None = None
        self._host: NDArray[Any] = np.zeros(0, dtype=np.uint8)

    def lay_out(self, arrays: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
        """Says which arrays there are; what they hold is undefined.

        Args:
            arrays: Name -> shape and NumPy name of the type, in the order in which they lie.

        Raises:
            EngineError: Not enough memory.
        """
        self._places, begin = {}, 0
        for name, (shape, dtype) in arrays.items():
            end = begin + DeviceArray(0, shape, dtype).nbytes
            self._places[name] = _Place(begin, end, shape, dtype)
            begin = aligned(end)
        if self._memory is None or self._host.nbytes < begin:
            size = max(begin, 2 * self._host.nbytes)
            self._memory = self._device.allocate((size,), "uint8")
            self._host = self._device.host_array((size,), "uint8")

    def on_host(self, name: str) -> NDArray[Any]:
        """Returns an array in host memory, to write before `send` or to read after `fetch`."""
        place = self._places[name]
        return self._host[place.begin : place.end].view(place.dtype).reshape(place.shape)

    def on_device(self, name: str) -> DeviceArray:
        """Returns an array on the device."""
        place, memory = self._places[name], self._bytes(name, name)
        return DeviceArray(memory.pointer, place.shape, place.dtype, memory.owner)

    def send(self, first: str, last: str) -> None:
        """Copies the arrays from one to another to the device."""
        begin, end = self._places[first].begin, self._places[last].end
        self._device.upload(self._bytes(first, last), self._host[begin:end])

    def fetch(self, first: str, last: str) -> None:
        """Copies the arrays from one to another to the host, where they are after `synchronize`."""
        begin, end = self._places[first].begin, self._places[last].end
        self._device.download(self._host[begin:end], self._bytes(first, last))

    def _bytes(self, first: str, last: str) -> DeviceArray:
        if self._memory is None:
            raise ValueError("a parcel must be laid out before it travels")
        begin, end = self._places[first].begin, self._places[last].end
        return self._memory.view((end - begin,), skip=begin)
