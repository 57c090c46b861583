"""How far a job is: a bar on a terminal, a plain line now and then elsewhere.

12 of 40  [#########.....................]  3.1 lines/s, 9 s left
"""

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TextIO

from dawn_runtime.jobs.job import JobTotals

EVERY_S: Final = 10.0
"""Between two lines, where nobody watches."""

_FRAME_S: Final = 0.1
_BAR: Final = 30


class Progress:
    """Tells how far a job is.

    Args:
        stream: Where to, standard error as a rule.
        terminal: Whether that is one.
        quiet: Whether nothing is told.
        prefix: In front of every line.
        clock: Seconds that never go back.

    Attributes:
        totals: What it was told last, None if nothing.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        terminal: bool,
        quiet: bool = False,
        prefix: str = "dawn-generate: ",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._terminal, self._prefix, self._clock = stream, terminal, prefix, clock
        self._quiet = quiet
        self.totals: JobTotals | None = None
        self._told = clock() - (_FRAME_S if terminal else 0)
        self._width = 0

    def __call__(self, totals: JobTotals) -> None:
        """Shows it, if it is time to."""
        self.totals = totals
        now, every = self._clock(), _FRAME_S if self._terminal else EVERY_S
        if self._quiet or now - self._told < every:
            return
        self._told = now
        if self._terminal:
            self._show(_with_bar(totals))
        else:
            self._write(f"{self._prefix}{totals.done} of {totals.lines}: {pace(totals)}\n")

    def close(self) -> None:
        """Takes the bar away."""
        if self._width:
            self._write("\r" + " " * self._width + "\r")
            self._width = 0

    def _show(self, text: str) -> None:
        text = text[: shutil.get_terminal_size().columns - 1]
        self._write("\r" + text.ljust(self._width))
        self._width = len(text)

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # whoever watched has gone
            self._stream.write(text)
            self._stream.flush()


def _with_bar(totals: JobTotals) -> str:
    full = _BAR * totals.done // max(totals.lines, 1)
    bar = "#" * full + "." * (_BAR - full)
    return f"{totals.done} of {totals.lines}  [{bar}]  {pace(totals)}"


def pace(totals: JobTotals) -> str:
    """Returns rate and time left, such as `3.1 lines/s, 9 s left`."""
    here = totals.done - totals.earlier
    if not here or totals.seconds <= 0:
        return "no line is done yet"
    rate = here / totals.seconds
    left = (totals.lines - totals.done) / rate
    speed = f"{rate:.1f} lines/s" if rate >= 1 else f"{1 / rate:.1f} s a line"
    return f"{speed}, {_duration(left)} left"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {whole % 60:02d} s"
