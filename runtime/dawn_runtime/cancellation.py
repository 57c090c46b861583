"""A way to end calls that do not return before their answers are there."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Cancellation:
    """Ends calls of a decoder from another thread; they then return what there is.

        cancellation = Cancellation()
        threading.Timer(5, cancellation.cancel).start()
        result = decoder.generate("What is 3 + 4?", cancellation=cancellation)
        print(result.finish_reason, result.marked())

    Any number of calls may be given the same one. It is for good: who is given one that was used
    decodes nothing. Streams and requests of an `OpenBatch` have a `cancel` of their own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[Callable[[], None]] = []
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def cancel(self) -> None:
        """Ends what goes on, in the midst of a run where the engine can stop one, as on the CPU.

        May be called from any thread, and several times.
        """
        with self._lock:
            self._cancelled = True
            for call in self._calls:
                call()

    @contextmanager
    def ending(self, call: Callable[[], None]) -> Iterator[None]:
        """Has something called when this is cancelled, or at once if it was.

        Args:
            call: Returns soon; called during the block alone.
        """
        with self._lock:
            self._calls.append(call)
            if self._cancelled:
                call()
        try:
            yield
        finally:
            with self._lock:
                self._calls.remove(call)
