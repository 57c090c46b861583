"""Memory for keys that batches leave behind, for the next ones of an engine.

Getting memory of a GPU and giving it back takes as long as a step or more, and waits for the
device; and what is recorded or bound for a shape can be repeated only where keys lie where they
lay. So what a batch has had is kept when the batch is gone. A memory is in one place at a time:
with the batch that took it, or here.
"""

import threading
import weakref
from typing import Final

from dawn_runtime.cuda.device import Device
from dawn_runtime.cuda.kv import DeviceKv, KvBlocks
from dawn_runtime.engine_info import EngineInfo
from dawn_runtime.errors import EngineError

MOST_BYTES: Final = 256 * 2**20
"""Of memory that nobody uses. What is larger belongs to answers that take so long that getting it
does not matter, and may be what something else needs next."""

_MORE_TOKENS: Final = 256
"""A memory serves a batch if it has at most twice the room that is wanted, and so much besides."""


class KeptBlocks:
    """Makes memory for keys, of what is there if there is something that fits.

    Args:
        device: Where it is.
        info: The engine whose keys are kept.
        most_bytes: Most bytes that are kept while nobody uses them.
    """

    def __init__(self, device: Device, info: EngineInfo, most_bytes: int = MOST_BYTES) -> None:
        self._device, self._info, self._most_bytes = device, info, most_bytes
        # Entered anew where the garbage collector returns a memory in the middle of it: what is
        # lost then by writing over it is freed.
        self._lock = threading.RLock()
        self._idle: tuple[KvBlocks, ...] = ()
        self._closed = False

    @property
    def nbytes(self) -> int:
        """Bytes that are kept and that nobody uses."""
        return sum(blocks.nbytes for blocks in self._idle)

    def take(self, tokens: int) -> DeviceKv:
        """Returns memory for a batch; what it holds are finite numbers.

        Args:
            tokens: As for `DeviceKv`.

        Raises:
            EngineError: Not enough memory, also without what is kept.
        """
        blocks = self._fitting(tokens) or self._allocated(tokens)
        memory = DeviceKv(self._device, self._info, tokens, blocks)
        weakref.finalize(memory, self._give_back, blocks).atexit = False
        return memory

    def close(self) -> None:
        """Frees what is kept, and what comes back from now on."""
        with self._lock:
            self._closed, self._idle = True, ()

    def _fitting(self, tokens: int) -> KvBlocks | None:
        """Takes the smallest that has room for as many and not for very many more."""
        with self._lock:
            fitting = [b for b in self._idle if tokens <= b.tokens <= 2 * tokens + _MORE_TOKENS]
            found = min(fitting, key=lambda blocks: blocks.tokens, default=None)
            self._idle = tuple(blocks for blocks in self._idle if blocks is not found)
            return found

    def _allocated(self, tokens: int) -> KvBlocks:
        try:
            return KvBlocks.allocate(self._device, self._info, tokens)
        except EngineError:
            if not self._idle:
                raise
        self._idle = ()
        return KvBlocks.allocate(self._device, self._info, tokens)

    def _give_back(self, blocks: KvBlocks) -> None:
        """Keeps what a batch has had; those that came first go where it is too much."""
        with self._lock:
            if self._closed or blocks.nbytes > self._most_bytes:
                return
            kept = [*self._idle, blocks]
            while sum(one.nbytes for one in kept) > self._most_bytes:
                del kept[0]
            self._idle = tuple(kept)
