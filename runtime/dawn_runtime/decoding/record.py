"""What happened in every step of a row, and why: kept only where somebody asks for it.

A scheme and its policy are pure, so they can be asked again about the row and the answers of a step
(`Scheme.explain`). Decoding itself keeps nothing and does nothing for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dawn_runtime.arrays import FloatArray, IntArray
from dawn_runtime.decoding.ask import Answer
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes.base import Scheme
from dawn_runtime.policies import Edges


@dataclass(frozen=True, slots=True)
class Choice:
    """A position that a step committed.

    Attributes:
        position: In the whole sequence.
        token: Id that was committed.
        confidence: Its probability.
        reason: Why, one of `dawn_runtime.policies.REASONS`.
        because: The certain position that an induced one depends on; None otherwise.
    """

    position: int
    token: int
    confidence: float
    reason: str
    because: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StepRecord:
    """One step of a row.

    Attributes:
        step: Steps that the row had taken before.
        window: First position in play and the one after the last; None where the scheme has none.
        commits: What was decided, by position.
        revoked: Positions that were decided before and are open again, or were decided anew.
        held: What the rule chose and a guard held back: position and name of the guard.
        waits: What was confident enough and had to wait: position, and the one that it is in
            conflict with.
        sinks: Positions that everything attends to.
        positions: int64 [m] open positions that were predicted.
        confidence: float32 [m] of those predictions.
        fed: Positions fed to the engine.
        edges: The rule's graph over what was undecided in the window; None of a rule without one.
    """

    step: int
    window: tuple[int, int] | None
    commits: tuple[Choice, ...]
    revoked: tuple[int, ...]
    held: tuple[tuple[int, str], ...]
    waits: tuple[tuple[int, int], ...]
    sinks: tuple[int, ...]
    positions: IntArray
    confidence: FloatArray
    fed: int
    edges: Edges | None = None


class Recorder:
    """Keeps a record of every step of one row."""

    def __init__(self) -> None:
        self._steps: dict[int, StepRecord] = {}

    @property
    def steps(self) -> tuple[StepRecord, ...]:
        """All steps so far, in their order."""
        return tuple(self._steps[step] for step in sorted(self._steps))

    def take(self) -> StepRecord | None:
        """Returns the last step and forgets all, for who tells each as it is made; None of none."""
        last = self.steps[-1:]
        self._steps.clear()
        return last[0] if last else None

    def note(
        self, scheme: Scheme, before: RowState, answers: Sequence[Answer], after: RowState
    ) -> None:
        """Records a step; one that is taken again is recorded once.

        Args:
            scheme: Of the row.
            before: The row that was asked for.
            answers: What came back.
            after: The row one step later.
        """
        told = scheme.explain(before, answers)
        again = ~before.masked & (before.commit_step >= 0)
        again &= after.masked | (after.commit_step == before.step)
        self._steps[before.step] = StepRecord(
            step=before.step,
            window=told.window,
            commits=tuple(
                Choice(
                    one.position,
                    one.token,
                    one.confidence,
                    told.reasons.get(one.position, "chosen"),
                    told.because.get(one.position),
                )
                for one in after.last_commits()
            ),
            revoked=tuple(np.flatnonzero(again).tolist()),
            held=tuple(sorted(told.held.items())),
            waits=tuple(sorted(told.waits.items())),
            sinks=tuple(told.sinks.tolist()),
            positions=told.positions,
            confidence=told.confidence,
            fed=after.fed - before.fed,
            edges=told.edges,
        )
