"""Runs of an engine that end early: nobody wants them any more, or their time is up.

A step takes a minute where a large model runs on a small CPU, so waiting for its end would make
deadlines and cancellations soft. Whoever takes a step does so inside of a `Halt`; an engine that
can stop what it has begun says how, by `dawn_runtime.interruption.stoppable`; and the watchdog, one
thread for the whole process, calls whoever has to be told that a time has come.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_here = threading.local()


class Halt:
    """Stops the runs of one step as soon as nobody wants them; made anew for every step.

        halt = Halt(lambda: all(request.stopped for request in requests))
        with halt.watching():
            batch.step()  # and from another thread: request.cancel(); halt.look()

    Args:
        unwanted: Tells whether nobody wants the step any more; once true it stays true.

    Attributes:
        hit: Whether a run has failed because it was stopped.
    """

    def __init__(self, unwanted: Callable[[], bool]) -> None:
        self._unwanted = unwanted
        self._lock = threading.Lock()
        self._stop: Callable[[], object] | None = None
        self.hit = False

    def look(self) -> None:
        """Stops the run under way if nobody wants it; may be called from any thread."""
        with self._lock:
            if self._stop is not None and self._unwanted():
                self._stop()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Makes this the halt of all that this thread runs inside the block."""
        _here.halt = self
        try:
            yield
        finally:
            _here.halt = None

    @contextmanager
    def over(self, stop: Callable[[], object]) -> Iterator[None]:
        """Holds a run that can be stopped.

        Args:
            stop: Makes it fail soon, also if it has not begun.
        """
        with self._lock:
            self._stop = stop
        self.look()  # it may be unwanted already
        try:
            yield
        except Exception:
            self.hit = self.hit or self._unwanted()
            raise
        finally:
            with self._lock:
                self._stop = None


def current_halt() -> Halt | None:
    """Returns the halt of the step that this thread takes, if any."""
    halt: Halt | None = getattr(_here, "halt", None)
    return halt


class Watchdog:
    """Calls back when a time has come, in one thread that is begun when it is first needed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._alarms: dict[object, tuple[float, Callable[[], object]]] = {}
        self._awake_at = 0.0
        self._thread: threading.Thread | None = None

    @contextmanager
    def after(self, seconds: float, call: Callable[[], object]) -> Iterator[None]:
        """Calls back if the block takes longer than some time, once; never after its end.

        Args:
            seconds: How long it may take; 0 or less calls back soon.
            call: Returns soon and raises nothing.
        """
        key, when = object(), time.monotonic() + seconds
        with self._changed:
            self._alarms[key] = (when, call)
            self._wake(when)
        try:
            yield
        finally:
            with self._changed:
                self._alarms.pop(key, None)

    def _wake(self, when: float) -> None:
        """Sees to it that the thread is awake at a time; after a fork there is none yet."""
        if self._thread is None or not self._thread.is_alive():
            self._awake_at = when
            self._thread = threading.Thread(target=self._watch, name="dawn-watchdog", daemon=True)
            self._thread.start()
        elif when < self._awake_at:
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for key, (when, call) in tuple(self._alarms.items()):
                    if when <= now:
                        del self._alarms[key]
                        call()
                self._awake_at = min((when for when, _ in self._alarms.values()), default=_NEVER)
                left = self._awake_at - time.monotonic()
                self._changed.wait(None if left > threading.TIMEOUT_MAX else max(left, 0))


_NEVER: Final = float("inf")

WATCHDOG: Final = Watchdog()
"""The one of this process."""
