"""What goes to a TensorRT engine and what comes back, in memory that is allocated once.

The inputs of a step travel in one copy, and so do the three small outputs. Each begins at a
multiple of 256 bytes, as TensorRT wants of every address.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from math import prod
from typing import Any

from numpy.typing import NDArray

from dawn_runtime.contract import TensorSpec
from dawn_runtime.cuda import Device, DeviceArray
from dawn_runtime.cuda.arrays import aligned, item_bytes
from dawn_runtime.engine.tensorrt.profiles import LETTERS, Profile, shape_of

_KEPT_LAYOUTS = 64


def tensor_bytes(spec: TensorSpec, sizes: Mapping[str, int]) -> int:
    """Returns the bytes of a tensor, rounded up so that another can follow.

    Args:
        spec: Its entry in the contract.
        sizes: Letter -> size.
    """
    return aligned(max(prod(shape_of(spec, sizes)) * item_bytes(spec.dtype), 1))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor lies: its first byte, the one after its last, its shape."""

    spec: TensorSpec
    begin: int
    end: int
    shape: tuple[int, ...]


class Packed:
    """Several tensors behind one another, on the device and on the host.

    Args:
        device: Where they are.
        specs: The tensors.
        profiles: Ranges of their sizes; there is room for the greatest.
    """

    def __init__(
        self, device: Device, specs: Sequence[TensorSpec], profiles: Sequence[Profile]
    ) -> None:
        self._device = device
        total = max(sum(tensor_bytes(s, p.sizes(2)) for s in specs) for p in profiles)
        self._memory = device.allocate((total,), "uint8")
        self._host = device.host_array((total,), "uint8")
        # Of no use to anybody but this object, and without a reference to it.
        self._places = lru_cache(maxsize=_KEPT_LAYOUTS)(partial(_lay_out, tuple(specs)))

    def on_device(self, sizes: Mapping[str, int]) -> dict[str, DeviceArray]:
        """Returns the tensors at these sizes, by name."""
        start, owner = self._memory.pointer, self._memory.owner
        return {
            place.spec.name: DeviceArray(start + place.begin, place.shape, place.spec.dtype, owner)
            for place in self._places(*sizes.values())
        }

    def on_host(self, sizes: Mapping[str, int]) -> dict[str, NDArray[Any]]:
        """Returns views of the host memory as the tensors at these sizes, by name."""
        return {
            place.spec.name: self._host[place.begin : place.end]
            .view(place.spec.dtype)
            .reshape(place.shape)
            for place in self._places(*sizes.values())
        }

    def send(self, sizes: Mapping[str, int]) -> None:
        """Copies the tensors at these sizes to the device."""
        total = self._places(*sizes.values())[-1].end
        self._device.upload(self._memory.view((total,)), self._host[:total])

    def fetch(self, sizes: Mapping[str, int]) -> None:
        """Copies the tensors at these sizes to the host, where they are after `synchronize`."""
        total = self._places(*sizes.values())[-1].end
        self._device.download(self._host[:total], self._memory.view((total,)))


def _lay_out(specs: tuple[TensorSpec, ...], *sizes: int) -> tuple[_Place, ...]:
    """Places tensors behind one another; sizes in the order of `LETTERS`."""
    named = dict(zip(LETTERS, sizes, strict=True))
    places, begin = [], 0
    for spec in specs:
        shape = shape_of(spec, named)
        places.append(_Place(spec, begin, begin + prod(shape) * item_bytes(spec.dtype), shape))
        begin += tensor_bytes(spec, named)
    return tuple(places)
