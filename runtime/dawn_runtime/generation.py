"""One call of the decoder: from rows to results, step by step, until done or stopped."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.checks import check_integer, check_number
from dawn_runtime.decoding import DecodeState, Packer, RowState, begin_run
from dawn_runtime.engine import Engine
from dawn_runtime.results import FinishReason, Hole, Result
from dawn_runtime.tokenizer import Tokenizer, whole_characters

_LONGEST = 1e9


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop before all is decided; what is there by then is the result.

    Attributes:
        timeout: Seconds from the first step on, looked at before every step; None waits for ever.
        max_forwards: Most runs of the engine for an answer; None is as many as it takes.

    Raises:
        OptionError: A limit is out of range.
    """

    timeout: float | None = None
    max_forwards: int | None = None

    def __post_init__(self) -> None:
        if self.timeout is not None:
            check_number("limit", "timeout", self.timeout, maximum=_LONGEST)
        if self.max_forwards is not None:
            check_integer("limit", "max_forwards", self.max_forwards, minimum=0)


class Generation:
    """A batch on its way through the engine.

    Args:
        engine: Runs the model.
        packer: Arrays of the same model.
        state: Where to start.
        fallbacks: For each row, whether its policy is a fallback.
        tokenizer: For the text of the results; None leaves it out.
        limits: When to stop early.
        templates: For each row, whether it is a template, so that its result lists its holes.
    """

    def __init__(
        self,
        engine: Engine,
        packer: Packer,
        state: DecodeState,
        fallbacks: Sequence[bool],
        tokenizer: Tokenizer | None,
        limits: Limits,
        *,
        templates: Sequence[bool],
    ) -> None:
        self._run = begin_run(engine, packer, state)
        self._rules = state.rules
        self._fallbacks = fallbacks
        self._tokenizer = tokenizer
        self._limits = limits
        self._templates = templates
        self._begun: float | None = None
        self._seconds = 0.0
        self._stopped: FinishReason | None = None

    def steps(self) -> Iterator[tuple[RowState, ...]]:
        """Yields the rows after every step; time between steps counts for the timeout alone."""
        while self._advance():
            yield self._run.rows

    def cancel(self) -> None:
        """Stops before the next step; may be called from another thread."""
        self._stopped = self._stopped or "cancelled"

    def results(self) -> list[Result]:
        """Runs what is left to run and returns one result for each row."""
        while self._advance():
            pass
        return [self._result(index, row) for index, row in enumerate(self._run.rows)]

    def _advance(self) -> bool:
        """Takes one step if there is one to take."""
        if not self._run.active or self._is_over():
            return False
        started = time.perf_counter()
        self._run.step()
        self._seconds += time.perf_counter() - started
        return True

    def _is_over(self) -> bool:
        """Tells whether a limit is reached, and notes which."""
        limits, now = self._limits, time.perf_counter()
        self._begun = now if self._begun is None else self._begun
        if self._stopped is None:
            if limits.max_forwards is not None and self._run.taken >= limits.max_forwards:
                self._stopped = "max_forwards"
            elif limits.timeout is not None and now - self._begun >= limits.timeout:
                self._stopped = "timeout"
        return self._stopped is not None

    def _finish_reason(self, row: RowState) -> FinishReason:
        if self._stopped is not None and not row.finished:
            return self._stopped
        return "length" if row.end is None else "end"

    def _result(self, index: int, row: RowState) -> Result:
        policy = self._rules[index].policy
        return Result(
            text=self._text(row.answer, whole=row.finished),
            tokens=row.answer,
            forwards=row.step,
            rows_fed=row.fed,
            seconds=self._seconds,
            engine_seconds=self._run.engine_seconds,
            trace=row.trace(),
            policy=policy.name,
            options=policy.options(),
            fallback=self._fallbacks[index],
            finish_reason=self._finish_reason(row),
            prompt_tokens=row.start,
            holes=tuple(self._hole(row, *span) for span in row.holes() if self._templates[index]),
        )

    def _hole(self, row: RowState, begin: int, end: int) -> Hole:
        undecided = np.flatnonzero(row.masked[begin:end])
        tokens = row.ids[begin : begin + int(undecided[0]) if undecided.size else end]
        return Hole(begin - row.start, tokens, self._text(tokens, whole=not undecided.size))

    def _text(self, ids: IntArray, *, whole: bool) -> str | None:
        """Text of ids; if more of them were to follow, without the beginning of a character."""
        if self._tokenizer is None:
            return None
        text = self._tokenizer.decode(ids)
        return text if whole else whole_characters(text)
