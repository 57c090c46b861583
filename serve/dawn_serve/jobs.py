"""One answer on its way through the server: what is ordered, what is told of it, how it ends."""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from dawn_runtime import Commit, Event, Result
from dawn_runtime.decoding import StepRecord
from dawn_runtime.request import Request
from dawn_runtime.tokenizer import Tokenizer, whole_characters
from dawn_serve.stops import StopText

Finish = Literal["stop", "length", "timeout", "cancelled"]
"""Why an answer ends: an end token or a stop text; all positions decided or as many runs as were
asked for; time; its client or the server."""

_FINISH: Final[dict[str, Finish]] = {
    "end": "stop",
    "length": "length",
    "max_forwards": "length",
    "timeout": "timeout",
    "cancelled": "cancelled",
}


@dataclass(frozen=True, slots=True)
class Update:
    """What a step did to one answer; the first one, empty, tells that it has joined the batch.

    Attributes:
        text: Text that is final now, up to the first stop text.
        tokens: Ids that are final now.
        confidences: Their probabilities when they were committed; None for given ones.
        commits: What was decided in this step, final or not.
        revoked: Positions that were decided and are open again.
        step: Steps taken so far.
        seconds: Wall time of the steps so far.
        engine_seconds: Part of it inside the engine.
        record: What happened in this step, and why; None unless the request records.
    """

    text: str = ""
    tokens: tuple[int, ...] = ()
    confidences: tuple[float | None, ...] = ()
    commits: tuple[Commit, ...] = ()
    revoked: tuple[int, ...] = ()
    step: int = 0
    seconds: float = 0.0
    engine_seconds: float = 0.0
    record: StepRecord | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an answer ended.

    Attributes:
        result: What decoding returned.
        text: Its text up to the first stop text; None without a tokenizer.
        tokens: Ids that this text is made of.
        confidences: As for `Update`.
        finish: Why it ends.
        stop: The stop text at which it ends, if it does.
        queued: Seconds that it waited.
    """

    result: Result
    text: str | None
    tokens: tuple[int, ...]
    confidences: tuple[float | None, ...]
    finish: Finish
    stop: str | None
    queued: float


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted.

    Attributes:
        request: From `Decoder.prepare`.
        stops: Texts at the first of which the answer ends, itself left out.
        watch: Told of every step, by the thread that decodes; it must return at once.
    """

    request: Request
    stops: tuple[str, ...] = ()
    watch: Callable[[Update], None] | None = None


class Job:
    """An order that was taken; made by `Scheduler.submit`.

    Args:
        order: What is wanted.
        tokenizer: Of the artifact.
        now: When it was taken.

    Attributes:
        order: As given.
        done: Its outcome, or why there is none.
        since: When it was taken.
        queued: Seconds that it waited, once it has joined.
        cancelled: Whether nobody wants it any more.
    """

    def __init__(self, order: Order, tokenizer: Tokenizer | None, now: float) -> None:
        self.order, self.since = order, now
        self.done: Future[Outcome] = Future()
        self.queued = 0.0
        self.cancelled = False
        self._tokenizer = tokenizer
        self._stop = StopText(order.stops)
        self._steps = 0
        self._text: list[str] = []
        self._tokens: list[int] = []
        self._sure: dict[int, float] = {}
        self._shown = 0

    def join(self, now: float) -> None:
        """Notes that the batch has it, and tells so."""
        self.queued = now - self.since
        self._tell(Update())

    def take(self, event: Event) -> bool:
        """Tells what a step did; returns whether no further one is wanted."""
        self._steps += 1
        self._sure.update({one.position: one.confidence for one in event.commits})
        self._tokens += event.tokens
        text = self._stop.push(event.text, final=event.finished)
        self._text.append(text)
        tokens, sure = self._fresh(final=event.finished)
        request = self.order.request
        update = Update(
            text,
            tokens,
            sure,
            event.commits,
            event.revoked,
            self._steps,
            request.seconds,
            request.engine_seconds,
            None if request.recorder is None else request.recorder.take(),
        )
        self._tell(update)
        return event.finished or self._stop.found is not None

    def conclude(self, result: Result) -> Outcome:
        """Tells what was held back, and returns what there is; `finish` then ends it."""
        rest = self._stop.push("", final=True)
        self._text.append(rest)
        tokens, sure = self._fresh(final=True)
        if rest or tokens:  # it ended between two steps
            self._tell(Update(rest, tokens, sure, step=self._steps))
        text = None if result.written is None else "".join(self._text)
        count = self._shown
        return Outcome(
            result=result,
            text=text,
            tokens=tuple(self._tokens[:count]),
            confidences=self._confidences(0, count),
            finish="stop" if self._stop.found is not None else _FINISH[result.finish_reason],
            stop=self._stop.found,
            queued=self.queued,
        )

    def finish(self, outcome: Outcome) -> None:
        """Ends it: whoever waits has the answer."""
        self.done.set_result(outcome)

    def fail(self, error: BaseException) -> None:
        """Ends it without an answer."""
        self.done.set_exception(error)

    def _fresh(self, *, final: bool) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
        """Returns the tokens of the text that is given out and was not told yet, and how sure.

        Args:
            final: Whether no text is held back any more.
        """
        first, self._shown = self._shown, len(self._tokens)
        if self._stop.found is not None or (self.order.stops and not final):
            self._shown = self._covering("".join(self._text))
        return tuple(self._tokens[first : self._shown]), self._confidences(first, self._shown)

    def _confidences(self, first: int, end: int) -> tuple[float | None, ...]:
        """Of the final tokens from one of them to before another."""
        start = self.order.request.row.start
        return tuple(self._sure.get(start + number) for number in range(first, end))

    def _covering(self, text: str) -> int:
        """How many tokens it takes for a text that is the beginning of theirs."""
        assert self._tokenizer is not None
        low, high = 0, len(self._tokens)
        while low < high:
            middle = (low + high) // 2
            made = self._tokenizer.decode(np.array(self._tokens[:middle], dtype=np.int64))
            low, high = (
                (low, middle) if len(whole_characters(made)) >= len(text) else (middle + 1, high)
            )
        return low

    def _tell(self, update: Update) -> None:
        if self.order.watch is not None:
            with suppress(Exception):  # who watches has gone; that is told otherwise
                self.order.watch(update)
