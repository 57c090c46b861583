"""A job: lines of a file join an open batch and leave it as they are done.

Lines of about one length are decoded together, since a run feeds every row as many positions as the
longest of them: of each stretch of the input the longest go first. Whenever one is done its place
goes to the next. No answer depends on the others in the batch.

A line that cannot be decoded gets an error in place of an answer. If the engine fails, those under
way are decoded one at a time: what fails then too, while the engine still answers what it answered
before, is that line's own error. Otherwise the job stops, and a later run goes on with it.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from dawn_runtime.decoder import Decoder
from dawn_runtime.errors import EngineError, PromptError
from dawn_runtime.jobs.output import Output
from dawn_runtime.jobs.record import Document, answered, failed
from dawn_runtime.open_batch import OpenBatch
from dawn_runtime.prompt_files import Entry
from dawn_runtime.prompts import Filling, Prompt, located
from dawn_runtime.results import Result
from dawn_runtime.settings import Settings

_STRETCH: Final = 32
"""Batches whose lines are sorted by length together; further apart they keep their order."""


@dataclass(slots=True)
class JobTotals:
    """What came of a job so far.

    Attributes:
        lines: Of the input.
        done: Lines that have an answer or an error, those of earlier runs included.
        errors: How many of them are errors.
        earlier: How many lines were done before this run.
        tokens: Decided by this run, in answers that are done.
        forwards: Runs of the engine that those answers took part in, added up.
        seconds: Since this run began.
        first_error: What the first error says, None if there is none.
    """

    lines: int
    done: int
    errors: int
    earlier: int
    tokens: int = 0
    forwards: int = 0
    seconds: float = 0.0
    first_error: str | None = None

    @classmethod
    def before(cls, entries: Sequence[Entry], output: Output) -> "JobTotals":
        """Returns what earlier runs have done."""
        earlier, first = len(output.answered), output.first_error
        return cls(len(entries), earlier, output.errors, earlier, first_error=first)


Listener = Callable[[JobTotals], None]


class Tally:
    """Adds lines to an output and counts them, each once.

    Args:
        entries: All lines of the input.
        output: Takes the answers.
        listener: Told whenever some line is done, and at the beginning.

    Attributes:
        totals: What came of the job so far.
    """

    def __init__(self, entries: Sequence[Entry], output: Output, listener: Listener) -> None:
        self.totals = JobTotals.before(entries, output)
        self._output, self._listener = output, listener
        self._seen = set(output.answered)
        self._begun = time.perf_counter()
        self._tell()

    def add(self, documents: Iterable[Document]) -> None:
        """Takes lines that are done; one that is there already is left out."""
        new = {one["line"]: one for one in documents if one["line"] not in self._seen}
        if not new:
            return
        self._output.add(list(new.values()))
        self._seen |= set(new)
        for document in new.values():
            self._count(document)
        self._tell()

    def _count(self, document: Document) -> None:
        totals = self.totals
        totals.done += 1
        if "error" in document:
            totals.errors += 1
            totals.first_error = totals.first_error or document["error"]
            return
        forwards = document["forwards"]
        totals.forwards += forwards
        totals.tokens += round(document["tokens_per_forward"] * max(forwards, 1))

    def _tell(self) -> None:
        self.totals.seconds = time.perf_counter() - self._begun
        self._listener(self.totals)


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """A line that can be decoded, with the rows and tokens that it takes."""

    entry: Entry
    prompt: Prompt | Filling
    rows: int
    tokens: int


@dataclass(slots=True)
class Job:
    """Answers lines of a file.

    Attributes:
        decoder: Decodes.
        output: Takes the answers; lines that it has already are left out. Who made it calls its
            `finish` when the job is over.
        digests: Of all lines, by number; see `dawn_runtime.jobs.record`.
        settings: Of every line.
        size: Lines decoded together at most, >= 1.
        listener: Called whenever some line is done, and at the beginning.
        name: What the lines are called in messages, such as the name of their file.
        totals: What came of it so far.
    """

    decoder: Decoder
    output: Output
    digests: dict[int, str]
    settings: Settings
    size: int = 8
    listener: Listener = lambda _: None
    name: str = "input"
    totals: JobTotals = field(default_factory=lambda: JobTotals(0, 0, 0, 0))
    _add: Callable[[Iterable[Document]], None] = lambda _: None
    _proof: Prompt | Filling | None = None

    def run(self, entries: Sequence[Entry]) -> JobTotals:
        """Answers what is not answered yet and returns what came of it.

        Args:
            entries: All lines of the input.

        Raises:
            OptionError: A setting is unknown, has a bad value, or does not go with the lines.
            EngineError: The engine failed; what was done before is kept.
            OSError: The output cannot be written.
        """
        tally = Tally(entries, self.output, self.listener)
        self.totals, self._add = tally.totals, tally.add
        left = [entry for entry in entries if entry.number not in self.output.answered]
        pieces = self._readable(left)
        if pieces:
            self._decode(_ordered(pieces, _STRETCH * self.size))
        return self.totals

    def _readable(self, entries: Sequence[Entry]) -> list[_Piece]:
        """What can be decoded; the others get their errors at once."""
        found = [self._piece(entry) for entry in entries]
        self._add([one for one in found if isinstance(one, dict)])
        return [one for one in found if isinstance(one, _Piece)]

    def _piece(self, entry: Entry) -> _Piece | Document:
        """What a line needs, or its error."""
        try:
            if entry.prompt is None:
                raise entry.error or PromptError("holds no prompt")
            with located(f"{self.name} line {entry.number}: "):
                room = self.decoder.room(entry.prompt, **self.settings)
        except PromptError as error:
            return failed(entry, self.digests[entry.number], error)
        return _Piece(entry, entry.prompt, *room)

    def _decode(self, waiting: deque[_Piece]) -> None:
        """Keeps the batch full until all are done."""
        rows = self.size * max(piece.rows for piece in waiting)
        bounds = {"max_rows": rows, "max_tokens": rows * max(one.tokens for one in waiting)}
        settings: Settings = {**self.settings, "padding": None}  # that of the whole batch
        padding = self.settings.get("padding") or "right"
        under_way: dict[int, _Piece] = {}
        with self.decoder.batch(**bounds, padding=padding) as batch:
            while waiting or under_way:
                while waiting and len(under_way) < self.size:
                    piece = waiting.popleft()
                    under_way[batch.admit(piece.prompt, **settings)] = piece
                self._add(self._step(batch, under_way))

    def _step(self, batch: OpenBatch, under_way: dict[int, _Piece]) -> list[Document]:
        """Takes a step and returns the lines that it finished."""
        try:
            over = [event.key for event in batch.step() if event.finished]
        except EngineError as error:
            return self._one_by_one(batch, under_way, error)
        return [self._answered(under_way.pop(key), batch.leave(key)) for key in over]

    def _one_by_one(
        self, batch: OpenBatch, under_way: dict[int, _Piece], error: EngineError
    ) -> list[Document]:
        """Decodes those under way alone, to tell whose fault it is that the engine failed."""
        pieces = list(under_way.values())
        for key in list(under_way):
            batch.leave(key)
            del under_way[key]
        outcomes = [(piece, self._alone(piece)) for piece in pieces]
        done = [self._answered(one, it) for one, it in outcomes if isinstance(it, Result)]
        self._add(done)  # before it may be over
        failures = [(one.entry, it) for one, it in outcomes if isinstance(it, EngineError)]
        if failures and not self._works():
            raise error
        return [failed(one, self.digests[one.number], own) for one, own in failures]

    def _alone(self, piece: _Piece) -> Result | EngineError:
        try:
            return self.decoder.generate(piece.prompt, **self.settings)
        except EngineError as error:
            return error

    def _works(self) -> bool:
        """Tells whether the engine runs something that it has run in this job."""
        if self._proof is None:
            return False
        settings: Settings = {**self.settings, "max_forwards": 1}
        try:
            self.decoder.generate(self._proof, **settings)
        except EngineError:
            return False
        return True

    def _answered(self, piece: _Piece, result: Result) -> Document:
        self._proof = piece.prompt
        return answered(piece.entry, self.digests[piece.entry.number], result)


def _ordered(pieces: Sequence[_Piece], stretch: int) -> deque[_Piece]:
    """The longest of each stretch first, equals in their order."""
    parts = (pieces[begin : begin + stretch] for begin in range(0, len(pieces), stretch))
    return deque(one for part in parts for one in sorted(part, key=lambda it: -it.tokens))
