"""Ctrl-C while TensorRT builds, which takes minutes and comes back to Python in callbacks alone.

Python runs the handler of a signal in its main thread, between two of its own instructions. While
that thread is inside the builder there are none, and callbacks may come from other threads. What
the interpreter does at once, wherever its threads are, is to write the number of the signal into a
pipe, if it was given one (`signal.set_wakeup_fd`): that is where callbacks look.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_MOST_SIGNALS = 256


@contextmanager
def held_interrupt() -> Iterator[Callable[[], bool]]:
    """Holds back SIGINT while the block runs; whoever handles it hears of it when the block ends.

    Outside the main thread, which alone is interrupted, and where SIGINT is ignored, nothing
    changes.

    Yields:
        Tells whether it has come; callable from any thread.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield lambda: False
        return
    pending = _Pending()
    wakeup = signal.set_wakeup_fd(pending.target, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield pending
    finally:
        signal.signal(signal.SIGINT, handler)
        signal.set_wakeup_fd(wakeup)
        interrupted = pending()
        pending.close()
        if interrupted:
            signal.raise_signal(signal.SIGINT)


class _Pending:
    """Whether SIGINT has come.

    Attributes:
        target: Descriptor to which the numbers of signals are written.
    """

    def __init__(self) -> None:
        self._source, self.target = os.pipe()
        os.set_blocking(self.target, False)
        self._lock = threading.Lock()
        self._come = False

    def __call__(self) -> bool:
        with self._lock:
            while not self._come and select.select([self._source], [], [], 0)[0]:
                self._come = signal.SIGINT in os.read(self._source, _MOST_SIGNALS)
            return self._come

    def close(self) -> None:
        os.close(self._source)
        os.close(self.target)
