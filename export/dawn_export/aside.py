"""A function that runs in a thread of its own while its caller does something else.

Whoever listens to the progress hears of it, and of an error, when the caller asks for the result:
listeners are called in the caller's thread alone, and stages come one after the other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Event, Lock
from typing import Final, TypeVar

from dawn_export.progress import Listener, Progress, relay

Result = TypeVar("Result")


class _UnwantedError(Exception):
    """Nobody wants the result any more."""


@contextmanager
def aside(work: Callable[[Listener], Result]) -> Iterator[Callable[[], Result]]:
    """Starts a function in another thread.

    Leaving the block early, by an error or an interruption, stops the function where it next tells
    its progress, and waits for that.

    Args:
        work: What to do; is given whom it has to tell its progress.

    Yields:
        What waits for the result and returns it, or raises what the function raised.
    """
    told: SimpleQueue[Progress | None] = SimpleQueue()
    unwanted = Event()

    def hear(progress: Progress) -> None:
        if unwanted.is_set():
            raise _UnwantedError
        told.put(progress)

    def run() -> Result:
        try:
            return work(hear)
        finally:
            told.put(None)

    def result() -> Result:
        for progress in iter(told.get, None):
            relay(progress)
        return future.result()

    with _SWITCHING.often(), ThreadPoolExecutor(1, thread_name_prefix="aside") as pool:
        future = pool.submit(run)
        try:
            yield result
        finally:
            unwanted.set()


_INTERVAL_S: Final = 0.0005
"""After how long a thread that only runs Python lets another one in. After the usual 5 ms, before
each of the some ten calls that a block of weights takes, weights would hardly get on."""


@dataclass(slots=True)
class _Switching:
    """How often threads take turns, which is one setting of the process."""

    lock: Lock = field(default_factory=Lock)
    wanted_by: int = 0
    usual: float = 0.0

    @contextmanager
    def often(self) -> Iterator[None]:
        """Often for as long as somebody wants it, then as before."""
        with self.lock:
            if not self.wanted_by:
                self.usual = sys.getswitchinterval()
                sys.setswitchinterval(_INTERVAL_S)
            self.wanted_by += 1
        try:
            yield
        finally:
            with self.lock:
                self.wanted_by -= 1
                if not self.wanted_by:
                    sys.setswitchinterval(self.usual)


_SWITCHING: Final = _Switching()
