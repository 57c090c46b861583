"""Where an engine on a device puts the keys and values that its runs return."""

from math import prod

from dawn_runtime.cuda.arrays import ALIGNMENT, DeviceArray, aligned, item_bytes
from dawn_runtime.cuda.device import Device
from dawn_runtime.engine_info import EngineInfo


class PresentMemory:
    """Keys and values of the tokens that a step feeds, in memory that is allocated once.

    A step may run a full pass and a cached one before it saves the keys of either. A row of the
    batch takes part in one of them, so together they return no more than there are tokens: full
    passes fill the memory of a layer from the front, cached ones from the back.

    Args:
        device: Where it is.
        info: The engine.
        tokens: Tokens of all rows of the batch, the greatest number there can be.

    Attributes:
        tokens: As given.

    Raises:
        EngineError: Not enough memory.
    """

    def __init__(self, device: Device, info: EngineInfo, tokens: int) -> None:
        self.tokens = tokens
        self._info = info
        token = info.kv_heads * info.kv_width * item_bytes(info.kv_dtype)
        # What is in front and what is at the back are rounded up each on its own.
        self._part = aligned(tokens * token) + ALIGNMENT
        self._memory = device.allocate((2 * info.layers * self._part,), "uint8")

    @property
    def pointer(self) -> int:
        """Address of the memory."""
        return self._memory.pointer

    @property
    def nbytes(self) -> int:
        """Size in bytes: that of `kv_bytes` of as many tokens, and at most 512 for each part."""
        return self._memory.nbytes

    def arrays(self, batch: int, fed: int, *, cached: bool) -> tuple[DeviceArray, ...]:
        """Returns arrays [batch, Hkv, fed, D] in the order of `StepOutputs.present`.

        They hold until the next call for the same kind of pass. Equal arguments have equal
        addresses.

        Args:
            batch: Rows of the run.
            fed: Tokens of each row.
            cached: Whether the run is a cached pass.
        """
        info = self._info
        shape = (batch, info.kv_heads, fed, info.kv_width)
        size = aligned(prod(shape) * item_bytes(info.kv_dtype))
        begin = self._memory.pointer + (self._part - size if cached else 0)
        return tuple(
            DeviceArray(begin + part * self._part, shape, info.kv_dtype, self._memory.owner)
            for part in range(2 * info.layers)
        )
