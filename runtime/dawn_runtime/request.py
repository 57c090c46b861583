"""One answer on its way: its row, its limits, and the result it ends with."""

import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding import Recorder, RowState, Scheme, Unmask
from dawn_runtime.halting import Halt
from dawn_runtime.option_fields import Options, option
from dawn_runtime.policies import Policy
from dawn_runtime.results import FinishReason, Hole, Piece, Result
from dawn_runtime.tokenizer import Tokenizer, whole_characters

_LONGEST = 1e9


@dataclass(frozen=True, slots=True)
class Limits(Options):
    """When to stop before all is decided; what is there by then is the result.

    Attributes:
        timeout: Seconds from the first step on; None waits for ever. It is looked at before every
            step, and on the CPU also inside one, which is then given up, unless others are in it
            that have time left.
        max_forwards: Most runs of the engine for an answer; None is as many as it takes.

    Raises:
        OptionError: A limit is out of range.
    """

    kind: ClassVar[str] = "limit"

    timeout: float | None = option(
        None, 0, _LONGEST, "seconds after which to stop with what is there", kind=float
    )
    max_forwards: int | None = option(
        None, 0, None, "runs of the engine after which to stop with what is there", kind=int
    )


class Request:
    """An answer that is wanted: where it begins, how it is decoded, when to stop.

    Args:
        row: Where it begins.
        scheme: How it is decoded.
        limits: When to stop early.
        fallback: Whether its policy is the plain rule that another handed over to.
        tokenizer: For the text of the result; None leaves it out.
        is_template: Whether the result lists its holes.
        record: Whether the result says why every token was decided.

    Attributes:
        row: Where it begins; once it has left its batch, where it ended.
        scheme: As given.
        seconds: Wall time of the steps that it took part in.
        engine_seconds: Part of it inside the engine.
        recorder: Is told of its steps, None if nobody records.
        halt: That of the step which it takes part in at the moment.
        left: Seconds that it had left when a step was last due, None if it has no time limit.
    """

    def __init__(
        self,
        row: RowState,
        scheme: Scheme,
        limits: Limits,
        *,
        fallback: bool = False,
        tokenizer: Tokenizer | None = None,
        is_template: bool = False,
        record: bool = False,
    ) -> None:
        self.row, self.scheme = row, scheme
        self.seconds = self.engine_seconds = 0.0
        self._limits, self._fallback = limits, fallback
        self._tokenizer, self._is_template = tokenizer, is_template
        self.recorder = Recorder() if record else None
        self.halt: Halt | None = None
        self.left: float | None = None
        self._begun: float | None = None
        self._stopped: FinishReason | None = None

    @property
    def stopped(self) -> bool:
        """Whether no further step is wanted."""
        return self._stopped is not None

    def cancel(self) -> None:
        """Stops it; may be called from another thread.

        No step follows, and one that is under way is given up if nobody else is in it and the
        engine can do so, as on the CPU.
        """
        self.stop("cancelled")

    def stop(self, reason: FinishReason) -> None:
        """Stops it as `cancel` does, unless something has already.

        Args:
            reason: What its result names.
        """
        self._stopped = self._stopped or reason
        if (halt := self.halt) is not None:
            halt.look()

    def due(self, steps: int) -> bool:
        """Tells whether another step may follow; a limit that is reached by now stops it.

        Args:
            steps: Steps that its row has taken.
        """
        now = time.perf_counter()
        self._begun = now if self._begun is None else self._begun
        if self._stopped is None:
            limits = self._limits
            self.left = None if limits.timeout is None else limits.timeout - (now - self._begun)
            if limits.max_forwards is not None and steps >= limits.max_forwards:
                self._stopped = "max_forwards"
            elif self.left is not None and self.left <= 0:
                self._stopped = "timeout"
        return self._stopped is None

    def result(
        self, *, seconds: float | None = None, engine_seconds: float | None = None
    ) -> Result:
        """Returns what there is: the whole answer, or as much as was decided when it stopped.

        Args:
            seconds: Wall time to name; by default that of its own steps.
            engine_seconds: The same inside the engine.
        """
        row = self.row
        return Result(
            written=self._text(row.answer, whole=row.finished),
            tokens=row.answer,
            forwards=row.step,
            rows_fed=row.fed,
            head_rows=row.predicted,
            seconds=self.seconds if seconds is None else seconds,
            engine_seconds=self.engine_seconds if engine_seconds is None else engine_seconds,
            trace=row.trace(),
            policy=self._rule.name,
            options=self._rule.options(),
            guards=self._guards,
            doubt=self._doubt,
            fallback=self._fallback,
            finish_reason=self._finish_reason(),
            prompt_tokens=row.start,
            reused_tokens=row.reused,
            holes=tuple(self._hole(*span) for span in row.holes() if self._is_template),
            record=None if self.recorder is None else self.recorder.steps,
            pieces=() if row.finished else tuple(self._piece(*run) for run in row.runs()),
        )

    @property
    def _rule(self) -> Scheme | Policy:
        """What a user calls the policy: that of `Unmask`, or the scheme itself."""
        return self.scheme.policy if isinstance(self.scheme, Unmask) else self.scheme

    @property
    def _doubt(self) -> str | None:
        """What the policy says of an answer in which what it looks for was not once to be seen."""
        row, scheme = self.row, self.scheme
        if not row.step or row.linked or not isinstance(scheme, Unmask):
            return None
        return scheme.policy.unlinked(row.step)

    @property
    def _guards(self) -> tuple[str, ...]:
        guards = self.scheme.guards if isinstance(self.scheme, Unmask) else ()
        return tuple(guard.text() for guard in guards)

    def _finish_reason(self) -> FinishReason:
        if self._stopped is not None and not self.row.finished:
            return self._stopped
        return "length" if self.row.end is None else "end"

    def _hole(self, begin: int, end: int) -> Hole:
        row = self.row
        undecided = np.flatnonzero(row.masked[begin:end])
        tokens = row.ids[begin : begin + int(undecided[0]) if undecided.size else end]
        return Hole(begin - row.start, tokens, self._text(tokens, whole=not undecided.size))

    def _piece(self, begin: int, end: int) -> Piece:
        row = self.row
        tokens = row.ids[begin:end] if not row.masked[begin] else row.ids[:0]
        return Piece(begin - row.start, end - begin, tokens, self._text(tokens, whole=True))

    def _text(self, ids: IntArray, *, whole: bool) -> str | None:
        """Text of ids; if more of them were to follow, without the beginning of a character."""
        if self._tokenizer is None:
            return None
        text = self._tokenizer.decode(ids)
        return text if whole else whole_characters(text)
