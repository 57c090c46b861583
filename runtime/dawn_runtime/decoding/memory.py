"""Where the keys lie that rows of a batch keep: in NumPy, or next to the engine that computes them.

The memory is made when a row first keeps something, all of it at once, so that what a batch takes
at most is known before anything has joined.
"""

from collections.abc import Mapping, Sequence

from dawn_runtime.arrays import IntArray, KvArray
from dawn_runtime.decoding.ask import Ask
from dawn_runtime.decoding.kv import KvStore, kv_bytes
from dawn_runtime.decoding.packing import Packer
from dawn_runtime.decoding.row import RowState
from dawn_runtime.engine.device import KvMemory, ResidentEngine
from dawn_runtime.engine.protocol import Engine


class BatchMemory:
    """Memory for the kept keys of a batch.

    Args:
        engine: Its engine.
        packer: Aligns the slots of a row, see `Packer.alignment`.
        max_rows: Most rows.
        max_tokens: Most rows times tokens of the longest.
    """

    def __init__(self, engine: Engine, packer: Packer, max_rows: int, max_tokens: int) -> None:
        self._engine, self._packer = engine, packer
        # Asked once: Python looks at every method of a protocol, which takes longer than a row.
        self._next_to = engine if isinstance(engine, ResidentEngine) else None
        self._tokens = max_tokens + max_rows * (packer.aligned(1) - 1)
        self._store: KvMemory | None = None

    @property
    def nbytes_bound(self) -> int:
        """Most bytes that kept keys and values take."""
        return kv_bytes(self._engine.describe(), self._tokens)

    @property
    def resident(self) -> bool:
        """Whether kept keys lie in memory of the engine's own."""
        return self._next_to is not None and self._store is not None

    def begin(self) -> None:
        """Makes the memory, unless it is there."""
        if self._store is None and self._next_to is not None:
            self._store = self._next_to.kv_memory(self._tokens)
        elif self._store is None:
            self._store = KvStore(self._engine.describe(), self._tokens)

    def read(self, rows: Sequence[int]) -> tuple[KvArray, ...]:
        """Returns `StepInputs.past` of some rows, by their keys; nothing if none keeps anything."""
        return () if self._store is None else self._store.read(rows)

    def arrange(self, rows: Mapping[int, RowState], rewritten: Sequence[int] = ()) -> None:
        """Gives a place to every row that keeps keys, and to no other.

        Args:
            rows: All rows of the batch.
            rewritten: Rows whose kept keys are all written next.
        """
        if self._store is not None:
            slots = {
                key: self._packer.aligned(len(row.kept.positions))
                for key, row in rows.items()
                if row.kept is not None
            }
            self._store.arrange(slots, rewritten)

    def release(self, rows: Mapping[int, RowState]) -> None:
        """Frees what rows held that are not there any more.

        On a device they make room in the next step: nothing is asked of the engine here, which may
        be taking a step of another batch, or be closed.
        """
        if not self.resident:
            self.arrange(rows)

    def fill(self, key: int, arrays: Sequence[KvArray], count: int) -> None:
        """Takes over keys of a text into the first slots of a row.

        Args:
            key: Of the row.
            arrays: Keys and values of each layer, each [1, Hkv, n, D].
            count: How many of the n.
        """
        assert self._store is not None
        self._store.restore(key, arrays, count)

    def save(self, key: int, slots: IntArray) -> tuple[KvArray, ...]:
        """Returns copies of what is in some slots of a row, in host memory; as `fill` takes them.

        Args:
            key: Of the row, which keeps something.
            slots: int64 [n] which.
        """
        assert self._store is not None
        return self._store.save(key, slots)

    def write(
        self, key: int, row: RowState, ask: Ask, present: Sequence[KvArray], place: int, begin: int
    ) -> None:
        """Takes over the keys that a row keeps of a run.

        Args:
            key: Of the row.
            row: As it is after the step.
            ask: What it asked.
            present: Keys and values of the run.
            place: Which of its batch rows.
            begin: Row of the run at which those of the ask begin.
        """
        if self._store is not None and row.kept is not None and ask.store.size:
            slots: IntArray = row.kept.slots(ask.positions[ask.store])
            self._store.write(key, slots, present, place, ask.store + begin)
