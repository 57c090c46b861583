"""Keys and values of a batch: whose are kept, and the memory they lie in.

Attention without a causal mask does not care about the order of keys, so a sequence is free to keep
any positions in any slots. `Kept` says which, and is part of the row's state; `KvStore` holds the
numbers of all rows and is written in place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from dawn_runtime.arrays import BoolArray, IntArray, KvArray, inverse, read_only
from dawn_runtime.decoding.ask import nothing
from dawn_runtime.engine_info import EngineInfo
from dawn_runtime.places import rearrangement


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Whose keys a row of length L keeps.

    Attributes:
        positions: int64 [N] positions that have a slot, in the order of the slots.
        ids: int64 [L] token that the key in the slot of a position was computed from; -1 for
            positions without a key, which never equals a token.
    """

    positions: IntArray
    ids: IntArray

    @classmethod
    def empty(cls, length: int, positions: IntArray | None = None) -> "Kept":
        """Describes slots without keys in them.

        Args:
            length: L.
            positions: int64 [N] positions that get a slot; None is no position.
        """
        slots = nothing() if positions is None else positions
        return cls(read_only(slots), read_only(np.full(length, -1, dtype=np.int64)))

    def renewed(self, positions: IntArray, tokens: IntArray) -> "Kept":
        """Returns the same with keys of these tokens, the newest at each position.

        Args:
            positions: int64 [n] distinct positions; those without a slot get the next ones.
            tokens: int64 [n] the tokens that were fed there.
        """
        ids = self.ids.copy()
        ids[positions] = tokens
        fresh = positions[inverse(self.positions, len(ids))[positions] < 0]
        slots = read_only(np.concatenate([self.positions, fresh])) if fresh.size else self.positions
        return Kept(slots, read_only(ids))

    def current(self, row_ids: IntArray) -> BoolArray:
        """Tells at which positions the key belongs to the token that stands there now, [L]."""
        current: BoolArray = self.ids == row_ids
        return current

    def slots(self, positions: IntArray) -> IntArray:
        """Returns the slots of positions that have one."""
        return inverse(self.positions, len(self.ids))[positions]


def kv_bytes(info: EngineInfo, tokens: int) -> int:
    """Returns the memory of a `KvStore`: 2 layers kv_heads kv_width itemsize for each token.

    Args:
        info: The engine whose keys are kept.
        tokens: Number of tokens.
    """
    per_token = 2 * info.layers * info.kv_heads * info.kv_width * np.dtype(info.kv_dtype).itemsize
    return tokens * per_token


class KvStore:
    """Keys and values of rows that come and go, in memory that is allocated once.

    A step reads them as [B, Hkv, P, D] arrays without a gap, as an engine wants them: for all rows
    that is a view, for some of them a copy. P is the number of slots of the fullest row; rows times
    P never exceed the tokens that there is memory for. Unused slots hold finite numbers.

    Args:
        info: The engine whose keys are kept.
        tokens: Rows times the tokens of the longest, the most there can be.

    Attributes:
        rows: Keys of the rows that have a place, in the order of the places.
        slots: P, slots of each row.
    """

    def __init__(self, info: EngineInfo, tokens: int) -> None:
        self._heads, self._width = info.kv_heads, info.kv_width
        size = tokens * info.kv_heads * info.kv_width
        self._flat = np.zeros((2 * info.layers, size), dtype=info.kv_dtype)
        self.rows: tuple[int, ...] = ()
        self.slots = 0
        self._shown: list[KvArray] | None = None

    @property
    def nbytes(self) -> int:
        """Size in bytes; see `kv_bytes`."""
        return self._flat.nbytes

    def read(self, rows: Sequence[int]) -> tuple[KvArray, ...]:
        """Returns the keys and values of some rows, each [len(rows), Hkv, P, D].

        Args:
            rows: Their keys; one may be named more than once.
        """
        if tuple(rows) == self.rows:
            return tuple(self._views())
        places = [self.rows.index(row) for row in rows]
        return tuple(view[places] for view in self._views())

    def write(
        self, row: int, slots: IntArray, present: Sequence[KvArray], index: int, fed: IntArray
    ) -> None:
        """Copies keys and values that the engine returned.

        Args:
            row: Key of the row.
            slots: int64 [n] where to.
            present: Arrays [B, Hkv, S, D] of a run.
            index: Which of their B rows.
            fed: int64 [n] which of their S tokens.
        """
        place = self.rows.index(row)
        for view, array in zip(self._views(), present, strict=True):
            # Half the time that two lists of numbers take.
            view[place][:, slots] = array[index].take(fed, axis=1)

    def save(self, row: int, slots: IntArray) -> tuple[KvArray, ...]:
        """Returns copies of the keys and values in some slots of a row, each [1, Hkv, n, D].

        Args:
            row: Key of the row.
            slots: int64 [n] which.
        """
        place = self.rows.index(row)
        return tuple(view[place : place + 1][:, :, slots] for view in self._views())

    def restore(self, row: int, saved: Sequence[KvArray], count: int) -> None:
        """Writes what `save` returned into the first slots of a row that has nothing yet.

        Args:
            row: Key of the row.
            saved: Of a row of this memory or of another one.
            count: How many of its slots, from the first on.
        """
        place = self.rows.index(row)
        for view, array in zip(self._views(), saved, strict=True):
            view[place, :, :count] = array[0, :, :count]

    def arrange(self, slots: dict[int, int], rewritten: Sequence[int]) -> None:
        """Gives rows their places: those that have one keep their order, new ones follow.

        Args:
            slots: Key of every row that keeps something -> number of its slots. All others lose
                their place.
            rewritten: Rows all of whose content will be written next. If that is every row, nothing
                is moved and P is exactly what the fullest needs; else P shrinks only with rows that
                leave.

        Raises:
            EngineError: There is no memory for so much.
        """
        room = self._flat.shape[1] // (self._heads * self._width)
        move = rearrangement(self.rows, self.slots, slots, rewritten, room)
        if move.places is not None:
            self._rearrange(move.places, move.slots)
        if (move.rows, move.slots) != (self.rows, self.slots):
            self.rows, self.slots, self._shown = move.rows, move.slots, None

    def _rearrange(self, places: list[int], slots: int) -> None:
        """Moves the content of the rows at some places to the front, with a number of slots."""
        both = min(slots, self.slots)
        for part in range(len(self._flat)):
            kept = self._view(part, len(self.rows), self.slots)[places]  # a copy
            self._view(part, len(places), slots)[:, :, :both] = kept[:, :, :both]

    def _views(self) -> list[KvArray]:
        if self._shown is None:
            shape = (len(self.rows), self.slots)
            self._shown = [self._view(part, *shape) for part in range(len(self._flat))]
        return self._shown

    def _view(self, part: int, rows: int, slots: int) -> KvArray:
        shape = (rows, self._heads, slots, self._width)
        view: KvArray = self._flat[part, : prod(shape)].reshape(shape)
        return view
