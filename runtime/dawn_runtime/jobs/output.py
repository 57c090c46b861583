"""Where the answers of a job go: a file that another run goes on with, or a stream.

A file gets the answers of a step in one piece as soon as the step is over, in whatever order they
are done, and they are on disk (`fsync`) before the next step begins. A run that is killed leaves
whole lines, perhaps with a torn one at the end, which the next run cuts off. When all are there the
file is put into the order of the input, in one step. A stream, which nobody can go on with, gets
them in that order from the start.
"""

import fcntl
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from dawn_runtime._json import parse_json
from dawn_runtime.errors import OptionError
from dawn_runtime.files import Destination, sync_folder, text_of
from dawn_runtime.interruption import held
from dawn_runtime.jobs.record import BEGINNING, Document, line_of

_LONGEST: Final = 256 * 2**20
"""Most bytes of a line that is read back; answers of the longest contexts stay far below."""

_WAY_OUT = "give another place, or --overwrite to begin anew"


class Output(ABC):
    """Takes the lines of a job.

    Attributes:
        answered: Numbers of the lines that an earlier run has answered.
        errors: How many of those are errors.
        first_error: What the first of them says, None if there is none.
    """

    answered: frozenset[int] = frozenset()
    errors: int = 0
    first_error: str | None = None

    @abstractmethod
    def add(self, documents: Sequence[Document]) -> None:
        """Takes lines that are done, in any order."""

    @abstractmethod
    def finish(self) -> None:
        """Called once, when all lines are there."""


class AnswerStream(Output):
    """Gives lines on in the order of the input, each as soon as all before it are done.

    Args:
        numbers: Of the lines of the input, ascending.
        write: Takes one line after the other.
    """

    def __init__(self, numbers: Sequence[int], write: Callable[[Document], None]) -> None:
        self._next = list(reversed(numbers))
        self._waiting: dict[int, Document] = {}
        self._write = write

    def add(self, documents: Sequence[Document]) -> None:
        """See `Output`."""
        self._waiting.update({document["line"]: document for document in documents})
        while self._next and self._next[-1] in self._waiting:
            self._write(self._waiting.pop(self._next.pop()))

    def finish(self) -> None:
        """See `Output`; all of them have been given on already."""


class AnswerFile(Output):
    """A file that holds what is done, whatever happens; nobody else may write it meanwhile.

    Args:
        destination: Where it is; no stream.
        digests: Of every line of the input, by number; see `dawn_runtime.jobs.record`.
        overwrite: Whether what is there is thrown away.

    Raises:
        OptionError: There is something that is not of this job, or another run is writing it.
        OSError: It cannot be opened.
    """

    def __init__(
        self, destination: Destination, digests: Mapping[int, str], *, overwrite: bool = False
    ) -> None:
        self._destination, self._digests = destination, digests
        self._places: dict[int, tuple[int, int]] = {}
        self._is_new = not destination.path.exists()
        self._file = _locked(destination.path)
        self._end = 0
        try:
            if not overwrite:
                self._read_back()
        except BaseException:
            self.close()
            raise
        self._is_cut = False
        self.answered = frozenset(self._places)

    def add(self, documents: Sequence[Document]) -> None:
        """Writes lines in one piece; they are on disk when this returns."""
        if not documents:
            return
        pieces = [line_of(document) for document in documents]
        with held():
            self._cut()
            self._file.seek(self._end)
            self._file.write(b"".join(pieces))
            self._file.flush()
            os.fsync(self._file.fileno())
            for document, piece in zip(documents, pieces, strict=True):
                self._places[document["line"]] = (self._end, len(piece))
                self._end += len(piece)

    def finish(self) -> None:
        """Puts the file into the order of the input, unless it is in it."""
        self._cut()
        ordered = [self._places[number] for number in self._digests]
        if ordered == sorted(ordered):
            return
        with self._destination.open() as file:
            for begin, size in ordered:
                self._file.seek(begin)
                file.write(self._file.read(size))

    def close(self) -> None:
        """Lets the file go; one that was made and got nothing is taken away again."""
        if self._is_new and not self._end and not self._file.closed:
            self._destination.path.unlink(missing_ok=True)
        with suppress(OSError):  # every line is on disk already
            self._file.close()

    def _cut(self) -> None:
        """Cuts off what is thrown away, once, as soon as there is something in its place."""
        if not self._is_cut:
            self._file.truncate(self._end)
            os.fsync(self._file.fileno())
            sync_folder(self._destination.path.parent)
            self._is_cut = True

    def _read_back(self) -> None:
        """Finds the lines that are there."""
        number = 0
        while line := self._file.readline(_LONGEST):
            number += 1
            if not line.endswith(b"\n"):
                self._check_torn(line, number)
                return
            self._take(line, number)

    def _take(self, line: bytes, number: int) -> None:
        """Looks at a whole line, which must be an answer of this job."""
        found = self._parsed(line)
        if found is None:
            raise self._refused(f"line {number} is no line of a job of dawn-generate")
        key, digest = found["line"], found["digest"]
        expected = self._digests.get(key)
        if expected is None:
            raise self._refused(f"line {number} answers line {key}, which the input does not have")
        if digest != expected:
            mine, theirs = expected.split(":"), digest.split(":")
            what = "model or settings" if mine[0] == theirs[0] else f"line {key} of the input"
            raise self._refused(f"line {number} is an answer from before {what} changed")
        if key in self._places:
            raise self._refused(f"line {number} answers line {key} a second time")
        self._places[key] = (self._end, len(line))
        self._end += len(line)
        if "error" in found:
            self.errors += 1
            self.first_error = self.first_error or str(found["error"])

    def _parsed(self, line: bytes) -> dict[str, Any] | None:
        if not line.startswith(BEGINNING):
            return None
        with suppress(ValueError):
            found = parse_json(text_of(line))
            if isinstance(found.get("line"), int) and isinstance(found.get("digest"), str):
                return dict(found)
        return None

    def _check_torn(self, line: bytes, number: int) -> None:
        """Lets a torn line of ours go, and nothing else; a crash may leave zeros in its place."""
        rest = line.rstrip(b"\0")
        if not (rest.startswith(BEGINNING) or BEGINNING.startswith(rest)):
            raise self._refused(f"line {number} is no line of a job of dawn-generate")

    def _refused(self, reason: str) -> OptionError:
        return OptionError(f"--output {self._destination.path}: {reason}; {_WAY_OUT}")


def _locked(path: Path) -> BinaryIO:
    """Opens a file, made if need be, that no other run may write until it is closed."""
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "rb+")
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise OptionError(
                f"--output {path}: another run is writing it; wait for its end, or give another "
                "place"
            ) from None
        except OSError:  # a file system without locks
            return file
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # a run that ended meanwhile has put another file there
