"""One step at a time: a lock for each engine that does not say it can do more.

What a step leaves in an engine on a device (outputs, keys, what is being recorded) is valid until
the next one, so a step of one answer must be over before that of another begins. Decoding takes the
lock around each step, an engine of this package around each run, so that it holds without decoding
too. Answers of several threads then take turns, step by step.
"""

import threading
import weakref
from contextlib import AbstractContextManager, nullcontext, suppress

from dawn_runtime.engine.protocol import Engine

_LOCKS: dict[int, threading.RLock] = {}
_MAKING = threading.Lock()


def exclusive(engine: Engine) -> AbstractContextManager[object]:
    """Returns what to hold while an engine takes a step; its holder may take it again.

    Args:
        engine: Any engine. One whose class has a true `concurrent` runs in any number of threads
            at once, so there is nothing to hold.
    """
    if getattr(engine, "concurrent", False):
        return nullcontext()
    with _MAKING:
        lock = _LOCKS.get(id(engine))
        if lock is None:
            lock = _LOCKS[id(engine)] = threading.RLock()
            with suppress(TypeError):  # no weak references: the lock stays, which costs nothing
                weakref.finalize(engine, _LOCKS.pop, id(engine), None).atexit = False
        return lock
