"""Runs a command that decodes, and notes when an answer begins and ends.

Commands of ours say so themselves, each in a line of JSON: ``{"begin": 0}`` before an answer, and
``{"seconds": 1.5, "tokens": 128, "forwards": 41}`` behind it. Others are recognised by what they
print, whatever the stream; a progress bar that only goes back to the start of its line counts too.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dawn_runtime.errors import DawnError
from dawn_runtime.machine.energy import EnergyMeter, total_joules

_LAST = 2000
"""Characters that are kept of what a command said, for its errors."""


@dataclass(frozen=True)
class Answer:
    """What decoding one answer took.

    Attributes:
        seconds: as the command timed it: without loading, without the prompt's tokenization.
        tokens: that were decoded.
        forwards: runs of the model.
        joules: of the whole machine in this time; None where it does not tell.
    """

    seconds: float
    tokens: int
    forwards: int
    joules: float | None = None


@dataclass(frozen=True)
class Marks:
    """How to see that an answer begins and ends.

    Attributes:
        begin: what is there to be found once it begins.
        end: text since it began -> what it took, and how much of the text that is; None as long as
            it has not ended.
    """

    begin: re.Pattern[str]
    end: Callable[[str], tuple[Answer, int] | None]


_TOLD = re.compile(r'^\{"seconds": .*\}\n', re.MULTILINE)


def _own_end(text: str) -> tuple[Answer, int] | None:
    found = _TOLD.search(text)
    if found is None:
        return None
    told = json.loads(found[0])
    return Answer(told["seconds"], told["tokens"], told["forwards"]), found.end()


OWN = Marks(re.compile(r'^\{"begin": \d+\}$', re.MULTILINE), _own_end)
"""Of the commands that are ours."""


def watch(
    command: Sequence[str],
    marks: Marks,
    answers: int,
    *,
    given: str = "",
    environment: dict[str, str] | None = None,
    meter: EnergyMeter | None = None,
) -> list[Answer]:
    """Runs a command and returns what its answers took.

    Args:
        command: what to run.
        marks: how to see its answers.
        answers: how many there must be.
        given: its standard input.
        environment: variables, beside those that there are.
        meter: of energy, if that is wanted.

    Raises:
        DawnError: it cannot be run, failed, or gave fewer answers.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
    except OSError as error:
        raise DawnError(f"{command[0]}: cannot be run: {error.strerror}") from error
    with process:
        try:
            found, last = _read(process, marks, given, meter)
        except BaseException:
            process.kill()
            raise
    if process.returncode or len(found) != answers:
        said = (last.split("\n")[-1] or "nothing").strip()
        raise DawnError(
            f"{command[0]}: status {process.returncode}, {len(found)} of {answers} answers, and "
            f"it said {said[-200:]!r}"
        )
    return found


def _read(
    process: subprocess.Popen[bytes], marks: Marks, given: str, meter: EnergyMeter | None
) -> tuple[list[Answer], str]:
    """All answers, and the end of what was said."""
    if process.stdin is None or process.stdout is None:
        raise ValueError("streams are no pipes")
    process.stdin.write(given.encode())
    process.stdin.close()
    reading = _Reading(marks, meter)
    said = ""
    while chunk := os.read(process.stdout.fileno(), 2**16):
        more = chunk.decode(errors="replace").replace("\r", "\n")
        said = (said + more)[-_LAST:]
        reading.read(more)
    return reading.answers, said.rstrip()


class _Reading:
    """Finds answers in a text that grows."""

    def __init__(self, marks: Marks, meter: EnergyMeter | None) -> None:
        self.answers: list[Answer] = []
        self._marks, self._meter = marks, meter
        self._text = ""
        self._has_begun = False

    def read(self, more: str) -> None:
        """Takes more of the text, in which several answers may begin and end."""
        self._text += more
        while self._step():
            pass

    def _step(self) -> bool:
        """Looks for the next mark; tells whether it was there."""
        if not self._has_begun:
            mark = self._marks.begin.search(self._text)
            self._text = self._text[mark.start() if mark else -_LAST :]
            self._has_begun = mark is not None
            if self._has_begun and self._meter is not None:
                self._meter.start()
            return self._has_begun
        ended = self._marks.end(self._text)
        if ended is None:
            return False
        answer, length = ended
        spent = None if self._meter is None else total_joules(self._meter.stop())
        self.answers.append(replace(answer, joules=spent))
        self._text, self._has_begun = self._text[length:], False
        return True
