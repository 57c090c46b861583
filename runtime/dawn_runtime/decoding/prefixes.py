"""Keys of finished text, kept beyond the answer they were computed for.

Where text never looks ahead its keys depend on nothing but the tokens before them, so that the next
request that begins alike need not compute them: the second turn of a chat begins with the first,
and prompts of one application with the same instructions.

    kept      a b c d e f            of an earlier answer
    asked     a b c x y              three tokens are taken over, two are fed

Entries are whole texts, and a text that begins with another takes its place. What has not been used
for longest goes first when the bound in bytes is reached.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from dawn_runtime.arrays import IntArray, KvArray, read_only
from dawn_runtime.checks import check_integer


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """Keys of a text.

    Attributes:
        kind: What else its keys depend on.
        ids: int64 [n] its tokens, from position 0 on.
        arrays: Keys and values of each layer, each [1, Hkv, n, D], as `KvMemory.save` returns them.
    """

    kind: Hashable
    ids: IntArray
    arrays: tuple[KvArray, ...]

    @property
    def nbytes(self) -> int:
        return self.ids.nbytes + sum(array.nbytes for array in self.arrays)


@dataclass(frozen=True, slots=True)
class Reuse:
    """What a cache of prefixes has done so far.

    Attributes:
        lookups: How often a beginning was looked for.
        hits: How often one was there.
        tokens: Tokens taken over.
        nbytes: Bytes held now.
        entries: Texts held now.
    """

    lookups: int
    hits: int
    tokens: int
    nbytes: int
    entries: int


class PrefixCache:
    """Keys of the beginnings of texts, the most recently used ones; threads may share it.

    Args:
        max_bytes: Most bytes it holds, >= 0; 0 holds nothing.

    Raises:
        OptionError: The bound is out of range.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = check_integer("prefix cache", "max_bytes", max_bytes, minimum=0)
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._next = self._nbytes = 0
        self._lookups = self._hits = self._tokens = 0
        self._lock = Lock()

    @property
    def holds(self) -> bool:
        """Whether it may hold anything at all."""
        return self._max_bytes > 0

    @property
    def reuse(self) -> Reuse:
        """What it has done so far."""
        with self._lock:
            return Reuse(self._lookups, self._hits, self._tokens, self._nbytes, len(self._entries))

    def find(self, kind: Hashable, ids: IntArray) -> tuple[int, tuple[KvArray, ...]]:
        """Returns the longest beginning that is held: how many tokens, and arrays of as many.

        Args:
            kind: What else the keys depend on, such as where blocks begin.
            ids: int64 [n] tokens from position 0 on.
        """
        with self._lock:
            self._lookups += 1
            found = [(common_beginning(one.ids, ids), key) for key, one in self._of(kind)]
            length, key = max(found, default=(0, 0))
            if not length:
                return 0, ()
            self._entries.move_to_end(key)
            return length, tuple(array[:, :, :length] for array in self._entries[key].arrays)

    def taken(self, tokens: int) -> None:
        """Counts what was taken over of something found.

        Args:
            tokens: How many; 0 if it was of no use.
        """
        with self._lock:
            self._hits += tokens > 0
            self._tokens += tokens

    def has(self, kind: Hashable, ids: IntArray) -> bool:
        """Tells whether a text that is held begins with these tokens, which is a use of it.

        Args:
            kind: As for `find`.
            ids: int64 [n] tokens from position 0 on.
        """
        with self._lock:
            return self._holds(kind, ids)

    def put(self, kind: Hashable, ids: IntArray, arrays: Sequence[KvArray]) -> None:
        """Takes in keys of a text, unless it holds them or they alone exceed the bound.

        Args:
            kind: As for `find`.
            ids: int64 [n] its tokens from position 0 on.
            arrays: Keys and values of each layer, each [1, Hkv, n, D]; copied.
        """
        size = ids.nbytes + sum(array.nbytes for array in arrays)
        with self._lock:
            if not len(ids) or size > self._max_bytes or self._holds(kind, ids):
                return
            for key, one in self._of(kind):
                if common_beginning(one.ids, ids) == len(one.ids):
                    self._drop(key)
            self._entries[self._next] = _Entry(
                kind,
                read_only(ids.copy()),
                tuple(read_only(np.array(array)) for array in arrays),
            )
            self._next, self._nbytes = self._next + 1, self._nbytes + size
            while self._nbytes > self._max_bytes:
                self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        """Forgets all texts."""
        with self._lock:
            self._entries.clear()
            self._nbytes = 0

    def _of(self, kind: Hashable) -> list[tuple[int, _Entry]]:
        return [(key, one) for key, one in self._entries.items() if one.kind == kind]

    def _holds(self, kind: Hashable, ids: IntArray) -> bool:
        """Whether a text begins with these tokens; it counts as used."""
        for key, one in self._of(kind):
            if common_beginning(one.ids, ids) == len(ids):
                self._entries.move_to_end(key)
                return True
        return False

    def _drop(self, key: int) -> None:
        self._nbytes -= self._entries.pop(key).nbytes


def common_beginning(one: IntArray, other: IntArray) -> int:
    """Returns how many tokens two texts have in common from the beginning on.

    Args:
        one: int64 [n] tokens.
        other: int64 [m] tokens.
    """
    length = min(len(one), len(other))
    return int(np.argmin(np.append(one[:length] == other[:length], False)))
