"""Ctrl-C and its kin: what must not be cut in two, native code that runs on, and the second one.

Python handles a signal in its main thread between two of its own instructions, where it raises
`KeyboardInterrupt`. Two things are left to do. State that is only whole with all its parts is
changed with the signals `held`. And while the main thread is in native code there are no
instructions, for minutes with a large model on a small machine; but the interpreter writes the
number of a signal into a pipe at once, and a thread that waits there (`interruptible`) tells the
native code to stop, and ends the process at the second signal if it still has not.
"""

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Final

from dawn_runtime.halting import current_halt

SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""What ends work: Ctrl-C, what services are stopped by, and a terminal that goes away."""

_GRACE_S: Final = 0.5
"""How long Python itself has to end after the second signal, cleaning up, before it is ended."""

_ECHO_S: Final = 0.3
_DEFAULTS: Final = (signal.SIG_DFL, signal.default_int_handler)

_stops: list[Callable[[], object]] = []


class Terminated(KeyboardInterrupt):
    """Any of the signals but Ctrl-C; ends work as Ctrl-C does."""


@contextmanager
def held() -> Iterator[None]:
    """Lets a short block happen as a whole: signals that come meanwhile count when it ends.

    Outside the main thread, which alone is interrupted, nothing changes.
    """
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    ours = [number for number, handler in handlers.items() if callable(handler)]
    if threading.current_thread() is not threading.main_thread():
        ours = []
    come: list[int] = []
    try:
        for number in ours:
            signal.signal(number, lambda number, frame: come.append(number))
        yield
    finally:
        for number in ours:
            signal.signal(number, handlers[number])
        if come:
            signal.raise_signal(come[0])


@contextmanager
def standing(where: str) -> Iterator[None]:
    """Lets an interruption of the block tell where it came, and what is lost or kept.

    Args:
        where: Behind "interrupted", such as `at prompt 3 of 8; nothing was written`.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        interrupt.args = interrupt.args or (where,)
        raise


@contextmanager
def stoppable(stop: Callable[[], object]) -> Iterator[None]:
    """Says how native code that runs inside the block is stopped from another thread.

    That is done when a signal comes, and when nobody wants the step any more that it is part of;
    see `dawn_runtime.halting`.

    Args:
        stop: Makes it return soon, also if it has not begun; what it raises after a signal gives
            way to `KeyboardInterrupt`.
    """
    halt = current_halt()
    _stops.append(stop)
    try:
        with nullcontext() if halt is None else halt.over(stop):
            yield
    finally:
        _stops.remove(stop)


@contextmanager
def interruptible() -> Iterator[None]:
    """Lets signals unwind what is under way, native code too; the second one ends it at once.

    Foreign code may take `KeyboardInterrupt` for a failure and raise one of its own, as a native
    module does that is being imported: whatever error comes out after a signal is that signal's.

    Signals that the process was started to ignore, as under ``nohup``, stay ignored.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are the main one's
        yield
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    ours = [number for number, handler in handlers.items() if handler in _DEFAULTS]
    source, target = os.pipe()
    os.set_blocking(target, False)
    watcher = threading.Thread(target=_watch, args=(source,), daemon=True)
    watcher.start()
    wakeup = signal.set_wakeup_fd(target, warn_on_full_buffer=False)
    raising = _Raising()
    try:
        for number in ours:
            signal.signal(number, raising)
        yield
    except Exception as error:
        if raising.raised is None:
            raise
        raise raising.raised() from error
    finally:
        for number in ours:
            signal.signal(number, handlers[number])
        signal.set_wakeup_fd(wakeup)
        os.close(target)
        watcher.join()
        os.close(source)


class _Presses:
    """Tells the first signal and later ones apart from echoes, which are no wish of anybody.

    ``timeout``, some shells and service managers send a signal to a process and to its group.
    """

    def __init__(self) -> None:
        self._last: float | None = None
        self.number = 0

    def count(self) -> bool:
        """Counts a signal that came now; returns False for an echo."""
        now = time.monotonic()
        echo = self._last is not None and now - self._last < _ECHO_S
        self._last = now if self._last is None or not echo else self._last
        self.number += not echo
        return not echo


class _Raising:
    """A handler: what is under way ends, its echoes aside."""

    def __init__(self) -> None:
        self._presses = _Presses()
        self.raised: type[KeyboardInterrupt] | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._presses.count():
            self.raised = KeyboardInterrupt if number == signal.SIGINT else Terminated
            raise self.raised


def _watch(source: int) -> None:
    """Reads numbers of signals until the other end is closed."""
    presses = _Presses()
    while numbers := os.read(source, 64):
        ending = [number for number in numbers if number in SIGNALS]
        if not ending or not presses.count():
            continue
        if presses.number == 1:
            for stop in tuple(_stops):  # which the main thread changes
                stop()
        else:
            _end(source, ending[-1])


def _end(source: int, number: int) -> None:
    """Ends the process unless it ends by itself, which closes the pipe."""
    until = time.monotonic() + _GRACE_S
    while (left := until - time.monotonic()) > 0:
        if select.select([source], [], [], left)[0] and not os.read(source, 64):
            return
    os._exit(128 + number)
