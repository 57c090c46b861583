"""Rows of a batch begin with the keys of texts that begin alike; see `prefixes`.

A row that has not begun takes over what is held of its prompt. If another that has not begun either
has more of it in common than that, it waits a step for the other's prefill: of eight prompts with
the same instructions one computes them.

    first step     row 0 feeds "rules rules hello", rows 1 and 2 wait
    second step    row 1 keeps "rules rules" and feeds "bye", row 2 likewise

What a row ends with is held too, so that the next turn of a chat begins where this one ended.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from dawn_runtime.arrays import KvArray
from dawn_runtime.decoding.kv import Kept
from dawn_runtime.decoding.memory import BatchMemory
from dawn_runtime.decoding.prefixes import PrefixCache, common_beginning
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes.base import Scheme


@dataclass(frozen=True, slots=True)
class _Start:
    """A row that has not begun.

    Attributes:
        row: It.
        scheme: How it is decoded.
        kind: What the keys of its text depend on.
    """

    row: RowState
    scheme: Scheme
    kind: Hashable

    def usable(self, count: int) -> int:
        """How many of so many leading tokens it can take over."""
        return self.scheme.reusable(self.row, count)

    def shared(self, other: "_Start") -> int:
        """How many it could take over of another's prefill."""
        if self.kind != other.kind:
            return 0
        ends = self.row.ids[: self.row.settled], other.row.ids[: other.row.settled]
        return self.usable(min(common_beginning(*ends), other.scheme.prefilled(other.row)))


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """What a row takes over.

    Attributes:
        row: With these keys.
        arrays: Keys and values of each layer, each [1, Hkv, n, D], n at least `row.reused`; as
            `KvMemory.save` returns them.
    """

    row: RowState
    arrays: tuple[KvArray, ...]


class TextReuse:
    """Takes keys of text over into the rows of a batch, and holds theirs.

    Args:
        prefixes: What is held.
        memory: Of the batch. What it keeps next to an engine is copied to the host to be held.
    """

    def __init__(self, prefixes: PrefixCache, memory: BatchMemory) -> None:
        self._prefixes, self._memory = prefixes, memory

    def begin(
        self, rows: Mapping[int, tuple[RowState, Scheme]]
    ) -> tuple[dict[int, Taken], set[int]]:
        """Lets rows take over what is held.

        Args:
            rows: Those that have not begun, in the order in which they joined.

        Returns:
            What rows take over, and keys of those that had better wait a step.
        """
        waiting: set[int] = set()
        taken: dict[int, Taken] = {}
        first: list[_Start] = []
        for key, start in _starts(rows).items():
            found, arrays = self._prefixes.find(start.kind, start.row.ids[: start.row.settled])
            held = start.usable(found)
            if any(start.shared(other) > held for other in first):
                waiting.add(key)
                continue
            first.append(start)
            self._prefixes.taken(held)
            if held:
                taken[key] = Taken(_beginning(start.row, held), arrays)
        return taken, waiting

    def fill(self, taken: Mapping[int, Taken]) -> None:
        """Writes the keys that rows took over, once these have a place in the memory.

        Args:
            taken: By the key of the row, as `begin` returned them.
        """
        for key, one in taken.items():
            self._memory.fill(key, one.arrays, one.row.reused)

    def hold(self, key: int, row: RowState, scheme: Scheme) -> None:
        """Holds the keys of a row's text.

        Args:
            key: Of the row.
            row: As its keys are in the memory.
            scheme: How it is decoded.
        """
        kind, count = scheme.text_kind(row), scheme.text_keys(row)
        if kind is None or not count or row.kept is None:
            return
        ids = row.ids[:count]
        if not self._prefixes.has(kind, ids):
            slots = row.kept.slots(np.arange(count))
            self._prefixes.put(kind, ids, self._memory.save(key, slots))


def _starts(rows: Mapping[int, tuple[RowState, Scheme]]) -> dict[int, _Start]:
    """Rows whose text others can begin with."""
    return {
        key: _Start(row, scheme, kind)
        for key, (row, scheme) in rows.items()
        if (kind := scheme.text_kind(row)) is not None
    }


def _beginning(row: RowState, count: int) -> RowState:
    """The row with keys of its first tokens."""
    positions = np.arange(count)
    kept = Kept.empty(row.length, positions).renewed(positions, row.ids[:count])
    return replace(row, kept=kept, reused=count)
