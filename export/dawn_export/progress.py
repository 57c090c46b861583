"""What a command is doing, for whoever waits for it.

Code that takes time says so with `stage`, wherever it is called from; who listens is decided once,
at the top, by `reporting`. Nobody listens unless asked.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dawn_runtime.wording import counted

if TYPE_CHECKING:
    from tqdm import tqdm


@dataclass(frozen=True, slots=True)
class Progress:
    """A stage of the work, and how far it is.

    Attributes:
        stage: One word for it, such as `weights`.
        text: What is done, for people.
        done: How much of it is done, in `unit`.
        total: How much there is; 0 where that is not known.
        unit: `B` for bytes, else what is counted.
        seconds: Time since the work began.
    """

    stage: str
    text: str
    done: int = 0
    total: int = 0
    unit: str = "B"
    seconds: float = 0.0


Listener = Callable[[Progress], None]
"""Called when a stage begins, and while it goes on where its total is known."""


@dataclass(slots=True)
class _Work:
    listener: Listener
    started: float

    def tell(self, progress: Progress) -> None:
        self.listener(replace(progress, seconds=time.perf_counter() - self.started))


_WORK: ContextVar[_Work | None] = ContextVar("work", default=None)


@contextmanager
def reporting(progress: bool | Listener, command: str = "dawn-export") -> Iterator[None]:
    """Sets who hears of the stages inside; within another one, that one goes on listening.

    Args:
        progress: A function that is called, True for lines and a bar on standard error, or False.
        command: Whose lines they are.
    """
    if progress is False or _WORK.get() is not None:
        yield
        return
    console = _Console(command)
    token = _WORK.set(_Work(console.show if progress is True else progress, time.perf_counter()))
    try:
        yield
    finally:
        _WORK.reset(token)
        console.close()


@contextmanager
def stage(name: str, text: str, total: int = 0, unit: str = "B") -> Iterator[Callable[[int], None]]:
    """Says that a stage begins; gives a function that is told how much more of it is done.

    Args:
        name: One word for it.
        text: What is done, for people.
        total: How much there is; 0 where that is not known.
        unit: `B` for bytes, else what is counted.
    """
    work = _WORK.get()
    now = Progress(name, text, 0, total, unit)

    def advance(more: int) -> None:
        nonlocal now
        if work is not None:
            now = replace(now, done=now.done + more)
            work.tell(now)

    if work is not None:
        work.tell(now)
    yield advance


def relay(progress: Progress) -> None:
    """Passes on what was told elsewhere, as if it was told here and now."""
    work = _WORK.get()
    if work is not None:
        work.tell(progress)


CHECKS = ("starting", "checking", "companions")
"""Stages in which input is looked at, before there is any work."""

_EVERY_S = 30
"""Seconds between lines about a long stage where there is no terminal."""


class _Console:
    """A line for every stage on standard error, and where a total is known how far it is.

    At a terminal that is a bar; elsewhere a line at the end, and now and then one before it. There
    nothing is said while input is still being checked: what is refused is one line, in logs too.
    """

    def __init__(self, command: str) -> None:
        self._command = command
        self._held: list[str] = []
        self._stage: str | None = None
        self._bar: tqdm[Any] | None = None
        self._began = self._said = 0.0

    def show(self, progress: Progress) -> None:
        """Shows the beginning of a stage, or how far it is."""
        if progress.done == 0 or progress.stage != self._stage:
            self.close()
            self._stage, self._began, self._said = (
                progress.stage,
                progress.seconds,
                progress.seconds,
            )
            self._begin(progress)
            self._bar = _bar(progress) if progress.total and at_terminal() else None
        elif self._bar is not None:
            self._bar.update(progress.done - self._bar.n)
        elif progress.done == progress.total or progress.seconds - self._said > _EVERY_S:
            self._said = progress.seconds
            self._say(self._line(progress))

    def _begin(self, progress: Progress) -> None:
        self._held.append(progress.text)
        if progress.stage not in CHECKS or at_terminal():
            for text in self._held:
                self._say(text)
            self._held.clear()

    def close(self) -> None:
        """Ends the bar, if there is one."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _line(self, progress: Progress) -> str:
        spent, share = progress.seconds - self._began, progress.done / progress.total
        left = "" if share == 1 else f", about {spent / share - spent:.0f} s left"
        done = f"{share:.0%} of {progress.total / 1e6:.1f} MB"
        if progress.unit != "B":
            done = f"{progress.done:,} of {counted(progress.total, progress.unit)}"
        return f"{progress.stage}: {done} in {spent:.0f} s{left}"

    def _say(self, text: str) -> None:
        if sys.stderr is not None:  # print() would take standard output in its place
            with suppress(ValueError, OSError):  # closed, or nobody reads it any more
                print(f"{self._command}: {text}", file=sys.stderr, flush=True)


def _bar(progress: Progress) -> tqdm[Any]:
    from tqdm import tqdm

    return tqdm(
        total=progress.total,
        desc=progress.stage,
        unit=progress.unit,
        unit_scale=progress.unit == "B",
        leave=False,
    )


def at_terminal() -> bool:
    """Tells whether somebody sits at standard error."""
    with suppress(AttributeError, ValueError):  # there is none, or it is closed
        return sys.stderr.isatty()
    return False
