"""Keys and values of a batch that stay on a device; the twin of `dawn_runtime.decoding.KvStore`."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from dawn_runtime.arrays import IntArray, KvArray
from dawn_runtime.cuda.arrays import DeviceArray, aligned, item_bytes
from dawn_runtime.cuda.device import Device
from dawn_runtime.engine_info import EngineInfo
from dawn_runtime.errors import EngineError
from dawn_runtime.places import rearrangement

_WORD, _WORDS = 4, "uint32"
_THREADS = 256


@dataclass(slots=True, eq=False)
class KvBlocks:
    """What a `DeviceKv` allocates; it outlives the batch, for the next one.

    Attributes:
        memory: kv dtype [parts, numbers of a part], a part being the keys or values of a layer.
        indices: int64 [2, tokens], slots and fed tokens of one write.
        places: int64 [tokens], rows that are gathered.
        sources: int64 [parts], addresses of what is written.
        spare: As `memory`, once it was needed.
    """

    memory: DeviceArray
    indices: DeviceArray
    places: DeviceArray
    sources: DeviceArray
    spare: DeviceArray | None = None

    @classmethod
    def allocate(cls, device: Device, info: EngineInfo, tokens: int) -> "KvBlocks":
        """Allocates; arguments and errors as for `DeviceKv`."""
        item, parts = item_bytes(info.kv_dtype), 2 * info.layers
        width = info.kv_width * item
        if width % _WORD:
            raise EngineError(
                f"{info.name}: a head is {info.kv_width} {info.kv_dtype} = {width} bytes wide; "
                f"expected a multiple of {_WORD}; use engine='onnxruntime-cpu'"
            )
        part = aligned(tokens * info.kv_heads * width) // item
        return cls(
            device.allocate((parts, part), info.kv_dtype),
            device.allocate((2, tokens), "int64"),
            device.allocate((tokens,), "int64"),
            device.allocate((parts,), "int64"),
        )

    @property
    def tokens(self) -> int:
        """Rows times the tokens of the longest, the most there can be."""
        return self.places.shape[0]

    @property
    def nbytes(self) -> int:
        """Size of all of it in bytes."""
        small = self.indices.nbytes + self.places.nbytes + self.sources.nbytes
        return small + self.memory.nbytes * (1 if self.spare is None else 2)


class DeviceKv:
    """Keys and values of rows that come and go, on a device.

    The layout is that of `KvStore`: [B, Hkv, P, D] without a gap for each part, P the slots of the
    fullest row. One kernel moves all parts at once. A second memory of the same size is allocated
    only when rows of a batch part ways: one of them leaves, or is due a full pass and another is
    not.

    Args:
        device: Where the keys are.
        info: The engine whose keys are kept.
        tokens: Rows times the tokens of the longest, the most there can be.
        blocks: What an earlier memory has left, with room for as many; None allocates.

    Attributes:
        rows: Keys of the rows that have a place, in the order of the places.
        slots: P, slots of each row.

    Raises:
        EngineError: Not enough memory, or heads of an odd number of bytes.
    """

    def __init__(
        self, device: Device, info: EngineInfo, tokens: int, blocks: KvBlocks | None = None
    ) -> None:
        self._device, self._info = device, info
        self._words = info.kv_width * item_bytes(info.kv_dtype) // _WORD
        self._blocks = blocks or KvBlocks.allocate(device, info, tokens)
        self._parts, self._part = self._blocks.memory.shape
        self.rows: tuple[int, ...] = ()
        self.slots = 0

    @property
    def nbytes(self) -> int:
        """Size in bytes: that of `kv_bytes`, and as much again once rows have parted ways."""
        return self._blocks.memory.nbytes * (1 if self._blocks.spare is None else 2)

    def read(self, rows: Sequence[int]) -> tuple[DeviceArray, ...]:
        """Returns the keys and values of some rows, each [len(rows), Hkv, P, D].

        For all rows that is the memory itself, for some of them a copy that the next `read` or
        `arrange` overwrites.

        Args:
            rows: Their keys; one may be named more than once.

        Raises:
            EngineError: They are more than there is memory for.
        """
        if not rows or tuple(rows) == self.rows:
            return self._views(self._blocks.memory, len(rows))
        return self._views(self._gather(self._places_of(rows), self.slots), len(rows))

    def write(
        self, row: int, slots: IntArray, present: Sequence[DeviceArray], index: int, fed: IntArray
    ) -> None:
        """Copies keys and values that the engine returned; arguments as for `KvStore.write`."""
        (place,) = self._places_of([row])
        count, blocks = len(slots), self._blocks
        targets, chosen = blocks.indices.view((count,)), blocks.indices.view((count,), skip=count)
        self._device.upload(targets, slots)
        self._device.upload(chosen, fed)
        self._device.upload(blocks.sources, np.array([array.pointer for array in present]))
        sizes = (place, self.slots, index, present[0].shape[2], count, self._words)
        self._device.launch(
            "kv_write",
            (self._parts, self._info.kv_heads),
            _THREADS,
            (
                *(blocks.memory, blocks.sources, targets, chosen, self._part_words()),
                *map(np.int32, sizes),
            ),
        )

    def save(self, row: int, slots: IntArray) -> tuple[KvArray, ...]:
        """Copies slots of a row to the host; arguments as for `KvStore.save`.

        Numbers come as words, as there are some that NumPy has no type for: uint32 [1, Hkv, n, W]
        for each part, W the words of a head.
        """
        blocks = [np.empty(self._block_shape, dtype=_WORDS) for _ in range(self._parts)]
        for part, block in enumerate(blocks):
            self._device.download(block, self._block(row, part))
        self._device.synchronize()
        return tuple(block[None, :, slots] for block in blocks)

    def restore(self, row: int, saved: Sequence[KvArray], count: int) -> None:
        """Copies slots of a row back; arguments as for `KvStore.restore`."""
        block = np.zeros(self._block_shape, dtype=_WORDS)
        for part, array in enumerate(saved):
            block[:, :count] = array[0, :, :count]
            self._device.upload(self._block(row, part), block)

    def arrange(self, slots: dict[int, int], rewritten: Sequence[int]) -> None:
        """Gives rows their places; arguments and errors as for `KvStore.arrange`."""
        move = rearrangement(self.rows, self.slots, slots, rewritten, self._blocks.tokens)
        if move.places and min(self.slots, move.slots):  # a kernel needs something to move
            gathered = self._gather(move.places, move.slots)
            self._blocks.memory, self._blocks.spare = gathered, self._blocks.memory
        self.rows, self.slots = move.rows, move.slots

    def _gather(self, places: list[int], slots: int) -> DeviceArray:
        """Copies the rows at some places into the second memory, with a number of slots."""
        blocks = self._blocks
        if len(places) * slots > blocks.tokens:
            raise EngineError(
                f"keys of {len(places)} rows with {slots} slots each are {len(places) * slots} "
                f"tokens; there is room for {blocks.tokens}"
            )
        if blocks.spare is None:
            blocks.spare = self._device.allocate(blocks.memory.shape, blocks.memory.dtype)
        self._device.upload(blocks.places.view((len(places),)), np.array(places))
        sizes = (self._info.kv_heads, slots, self.slots, min(slots, self.slots), self._words)
        self._device.launch(
            "kv_gather",
            (self._parts, len(places) * self._info.kv_heads),
            _THREADS,
            (
                *(blocks.spare, blocks.memory, blocks.places, self._part_words()),
                *map(np.int32, sizes),
            ),
        )
        return blocks.spare

    @property
    def _block_shape(self) -> tuple[int, int, int]:
        """What a row keeps of a part, in words."""
        return self._info.kv_heads, self.slots, self._words

    def _block(self, row: int, part: int) -> DeviceArray:
        """Where a row keeps it."""
        memory = self._blocks.memory
        words = DeviceArray(
            memory.pointer, (self._parts * int(self._part_words()),), _WORDS, memory
        )
        (place,) = self._places_of([row])
        skip = part * int(self._part_words()) + place * prod(self._block_shape)
        return words.view(self._block_shape, skip=skip)

    def _part_words(self) -> np.int64:
        words: np.int64 = np.int64(self._part * item_bytes(self._info.kv_dtype) // _WORD)
        return words

    def _places_of(self, rows: Sequence[int]) -> list[int]:
        return [self.rows.index(row) for row in rows]

    def _views(self, memory: DeviceArray, rows: int) -> tuple[DeviceArray, ...]:
        shape = (rows, self._info.kv_heads, self.slots, self._info.kv_width)
        return tuple(memory.view(shape, skip=part * self._part) for part in range(self._parts))
