"""P2, path planning: all is predicted in every run, and the least confident stays open.

Of N positions to decide in S steps, step i = 0, 1, ... keeps

    n_i = floor(N (1 - (i + 1) / S))

open: those whose row is least confident of what it would say now, whether they were decided or not.
Every other open position gets its token; decided ones keep theirs unless they are among the n_i,
which takes them back. The confidence is that of the prediction, not of the token that stands there
(Open-dLLM; Peng et al., arXiv 2502.03540, with the model itself as planner). n_i is reckoned in
float32, as there.

    four positions, S = 4   p of what each row says now        open after
    step 0, n = 3           0.2  0.9  0.4  0.3                 0     2  3
    step 1, n = 2           0.8  0.5  0.6  0.7                    1  2       1 is taken back

Nothing is final before the last step, so a stream gives out everything at its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding.ask import Answer, Ask, Decision
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes.base import SCHEMES, Scheme
from dawn_runtime.decoding.schemes.predictions import all_masks, without_mask_in
from dawn_runtime.option_fields import option
from dawn_runtime.policies.order import MOST_STEPS


@SCHEMES.register
@dataclass(frozen=True, slots=True)
class PathPlanning(Scheme):
    """Predicts everything, and leaves the least confident part of it open.

    Attributes:
        steps: Of the whole answer; 0, the default, is one for each position, as published.

    Raises:
        OptionError: An option is out of range.
    """

    name: ClassVar[str] = "p2"

    steps: int = option(0, 0, MOST_STEPS, "steps of the whole answer; 0 is one a position")

    def bound(self, row: RowState) -> int:
        """All steps, and one for each position that the model leaves a mask in the last."""
        return self._steps(row) + len(_changeable(row))

    def ask(self, row: RowState) -> tuple[Ask, ...]:
        """Asks for all that was not given."""
        predicted = _changeable(row)
        rows = np.maximum(predicted - row.shift, 0)
        return (Ask(row.ids, np.arange(row.length), predict=rows, note=predicted),)

    def decide(self, row: RowState, answers: Sequence[Answer]) -> Decision:
        """Decides what is open, and opens what is least confident."""
        (answer,) = answers
        positions: IntArray = answer.ask.note
        open_ = row.masked[positions]
        tokens, confidence = without_mask_in(open_, answer, row.mask_id)
        step: int = row.memory or 0
        waits = np.zeros(len(positions), dtype=bool)
        least = still_open(len(positions), step, self._steps(row))
        waits[np.argsort(confidence, kind="stable")[:least]] = True
        taken = open_ & ~waits & (tokens != row.mask_id)
        ends = not waits.any() and bool((taken == open_).all())
        return Decision(
            commit=positions[taken],
            tokens=tokens[taken],
            confidence=confidence[taken],
            revoke=positions[waits & ~open_],
            final=None if ends else row.final,
            memory=step + 1,
        )

    def stuck(self, row: RowState, answers: Sequence[Answer]) -> bool:
        """Tells whether every open position is predicted to be the mask."""
        (answer,) = answers
        return all_masks(answer.tokens[row.masked[answer.ask.note]], row.mask_id)

    def _steps(self, row: RowState) -> int:
        return self.steps or len(_changeable(row))


def still_open(count: int, step: int, steps: int) -> int:
    """Returns n_i of the module.

    Args:
        count: N, positions to decide.
        step: i, from 0; the last and all after it keep none open.
        steps: S.
    """
    share = np.float32(max(0.0, 1 - (step + 1) / steps))
    return int(np.floor(np.float32(count) * share))


def _changeable(row: RowState) -> IntArray:
    """Positions that were not given, int64 [n]."""
    return np.flatnonzero(row.masked | (row.commit_step >= 0))
