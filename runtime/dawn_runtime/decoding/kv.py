"""Keys and values of a batch: what a row keeps of them, and the memory they lie in.

Attention without a causal mask does not care about the order of keys, so a row is free to keep any
positions in any slots. `Kept` says which, and is part of the row's state; `KvStore` holds the
numbers of all rows and is written in place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray, KvArray, inverse, read_only
from dawn_runtime.engine.protocol import EngineInfo


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What a row of length L keeps of the steps since its last full pass, that one included.

    Attributes:
        positions: int64 [N] positions that have a slot in the store, in the order of the slots.
        ids: int64 [L] token that the key in the slot of a position was computed from; -1 for
            positions without a key, which never equals a token.
        window: Window of the last full pass.
        decided: Positions that were decided before it, the given ones not counted.
        confidence: float32 [L] the last prediction made at each position, NaN if there was none.
            None unless the policy needs predictions of known positions.
        key_means: float32 [L] mean attention that each position drew in the last full pass, 0 where
            it was not visible. None unless the policy needs the evidence of all rows.
    """

    positions: IntArray
    ids: IntArray
    window: tuple[int, int]
    decided: int
    confidence: FloatArray | None = None
    key_means: FloatArray | None = None

    @classmethod
    def begin(
        cls,
        row_ids: IntArray,
        positions: IntArray,
        stored: IntArray,
        window: tuple[int, int],
        decided: int,
    ) -> "Kept":
        """Describes what a full pass leaves behind.

        Args:
            row_ids: int64 [L] tokens of the row when it was fed.
            positions: int64 [N] positions that get a slot.
            stored: int64 [n] those of them that were fed.
            window: As in the attribute.
            decided: As in the attribute.
        """
        ids = np.full(len(row_ids), -1, dtype=np.int64)
        ids[stored] = row_ids[stored]
        return cls(read_only(positions), read_only(ids), window, decided)

    def renewed(self, row_ids: IntArray, positions: IntArray) -> "Kept":
        """Returns the same with newer keys at some positions that have a slot."""
        ids = self.ids.copy()
        ids[positions] = row_ids[positions]
        return replace(self, ids=read_only(ids))

    def current(self, row_ids: IntArray) -> BoolArray:
        """Tells at which positions the key belongs to the token that stands there now, [L]."""
        current: BoolArray = self.ids == row_ids
        return current

    def slots(self, positions: IntArray) -> IntArray:
        """Returns the slots of positions that have one."""
        return inverse(self.positions, len(self.ids))[positions]


def kv_bytes(info: EngineInfo, batch: int, length: int) -> int:
    """Returns the memory of a `KvStore`: 2 layers kv_heads head_dim itemsize, per row and token.

    Args:
        info: The engine whose keys are kept.
        batch: Number of rows.
        length: Tokens of the longest row.
    """
    per_token = 2 * info.layers * info.kv_heads * info.head_dim * np.dtype(info.kv_dtype).itemsize
    return batch * length * per_token


class KvStore:
    """Keys and values of the unfinished rows of a batch, allocated once for the longest row.

    A step reads them as [B, Hkv, P, D] arrays without a gap, as an engine wants them: for all rows
    that is a view, for some of them a copy. P is the number of slots of the fullest row; it changes
    with full passes, and only then are other rows moved. Unused slots hold finite numbers.

    Args:
        info: The engine whose keys are kept.
        batch: Number of rows.
        length: Tokens of the longest row.

    Attributes:
        rows: Numbers of the rows that are in the store, ascending.
        slots: P, slots of each row.
        forwards: Runs of the engine that the content has seen, to tell an older state from the
            one it belongs to.
    """

    def __init__(self, info: EngineInfo, batch: int, length: int) -> None:
        self._heads, self._width = info.kv_heads, info.head_dim
        size = batch * length * info.kv_heads * info.head_dim
        self._flat = np.zeros((2 * info.layers, size), dtype=info.kv_dtype)
        self.rows = tuple(range(batch))
        self.slots = 0
        self.forwards = 0

    @property
    def nbytes(self) -> int:
        """Size in bytes; see `kv_bytes`."""
        return self._flat.nbytes

    def read(self, rows: Sequence[int]) -> tuple[KvArray, ...]:
        """Returns the keys and values of some rows, each [len(rows), Hkv, P, D]."""
        if tuple(rows) == self.rows:
            return tuple(self._views())
        places = self._places(rows)
        return tuple(view[places] for view in self._views())

    def write(
        self, row: int, slots: IntArray, present: Sequence[KvArray], index: int, fed: IntArray
    ) -> None:
        """Copies keys and values that the engine returned.

        Args:
            row: Number of the row.
            slots: int64 [n] where to.
            present: Arrays [B, Hkv, S, D] of a run.
            index: Which of their B rows.
            fed: int64 [n] which of their S tokens.
        """
        (place,) = self._places([row])
        for view, array in zip(self._views(), present, strict=True):
            view[place][:, slots] = array[index][:, fed]

    def retain(self, rows: Sequence[int]) -> None:
        """Forgets every row but these, so that reading all of them needs no copy."""
        if tuple(rows) != self.rows:
            places = self._places(rows)
            self._rearrange(places, tuple(rows), self.slots)

    def reserve(self, slots: int, rewritten: Sequence[int]) -> None:
        """Makes room for a number of slots in each row.

        Args:
            slots: Slots of the fullest row.
            rewritten: Rows whose content will be written next; if that is all of them, nothing is
                moved and P is exactly `slots`, else P never shrinks.
        """
        if tuple(rewritten) == self.rows:
            self.slots = slots
        elif slots > self.slots:
            self._rearrange(list(range(len(self.rows))), self.rows, slots)

    def _rearrange(self, places: list[int], rows: tuple[int, ...], slots: int) -> None:
        """Moves the content of the rows at some places to the front, with a number of slots."""
        for part in range(len(self._flat)):
            kept = self._view(part, len(self.rows), self.slots)[places]  # a copy
            self._view(part, len(rows), slots)[:, :, : self.slots] = kept
        self.rows, self.slots = rows, slots

    def _places(self, rows: Sequence[int]) -> list[int]:
        return [self.rows.index(row) for row in rows]

    def _views(self) -> list[KvArray]:
        return [self._view(part, len(self.rows), self.slots) for part in range(len(self._flat))]

    def _view(self, part: int, rows: int, slots: int) -> KvArray:
        shape = (rows, self._heads, slots, self._width)
        view: KvArray = self._flat[part, : prod(shape)].reshape(shape)
        return view
