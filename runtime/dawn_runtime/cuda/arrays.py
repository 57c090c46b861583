"""Arrays that live on a device: an address, a shape and an element type."""

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from dawn_runtime.errors import EngineError

ALIGNMENT = 256
"""Bytes that the address of every tensor is a multiple of, as TensorRT asks for: NvInferRuntime.h,
`IExecutionContext::setOutputTensorAddress`."""

_NOT_IN_NUMPY = {"bfloat16": 2}


def aligned(size: int) -> int:
    """Returns a number of bytes rounded up to `ALIGNMENT`."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def item_bytes(dtype: str) -> int:
    """Returns the bytes of an element of a NumPy type or `bfloat16`."""
    return _NOT_IN_NUMPY.get(dtype) or np.dtype(dtype).itemsize


@dataclass(frozen=True, slots=True, eq=False)
class DeviceArray:
    """A dense array on a device, or part of one, in C order.

    Attributes:
        pointer: Address of the first element.
        shape: Sizes, outermost first.
        dtype: NumPy name of the element type, or `bfloat16`.
        owner: What must live as long as the array does.
    """

    pointer: int
    shape: tuple[int, ...]
    dtype: str
    owner: object = None

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return prod(self.shape) * item_bytes(self.dtype)

    def view(self, shape: tuple[int, ...], *, skip: int = 0) -> "DeviceArray":
        """Returns the elements from `skip` on in another shape, without a copy.

        Raises:
            EngineError: The array has fewer elements.
        """
        wanted, there = skip + prod(shape), prod(self.shape)
        if wanted > there:
            raise EngineError(
                f"a view of shape {shape} behind {skip} elements needs {wanted} of them; "
                f"the array {self.shape} has {there}; allocate a larger one"
            )
        return replace(self, pointer=self.pointer + skip * item_bytes(self.dtype), shape=shape)
