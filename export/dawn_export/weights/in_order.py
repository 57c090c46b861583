"""Blocks made by several threads, handed on in their order.

torch lets other threads run while it converts or turns a block, so two cores make two blocks at a
time. `ahead` bounds how many are begun before the first of them is taken, and with that the memory:

    ahead = 0    one block at a time: for blocks of a buffer that the next one overwrites
    ahead = N    for parts of a matrix that stays as it is until all are made
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from dawn_export.weights.scratch import Scratch

Item = TypeVar("Item")
Made = TypeVar("Made")

WORKERS: Final = 3
"""Threads that make blocks: then one thread cannot hash faster, and each holds a few copies."""


class InOrder:
    """A few threads; use it as a context manager.

    Attributes:
        scratch: Memory for what they make on the way.
    """

    def __init__(self) -> None:
        self.scratch = Scratch()
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="converting")

    def __enter__(self) -> InOrder:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def map(
        self, make: Callable[[Item], Made], items: Iterable[Item], ahead: int = WORKERS
    ) -> Iterator[Made]:
        """Yields what `make` makes of each item, in the order of the items.

        Nothing is being made any more when the iterator has ended, or is closed.

        Args:
            make: Runs in one of the threads.
            items: Taken one by one, in the caller's thread.
            ahead: How many more are begun while one is waited for.
        """
        waiting: deque[Future[Made]] = deque()
        try:
            for item in items:
                waiting.append(self._pool.submit(make, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel() or future.exception()
