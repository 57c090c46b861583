"""Prophet: once the answer stands out, all else is filled in at once (arXiv 2508.19982, 2025).

Until then it is decoding with a fixed number of steps: each block has its share of them, and a step
commits the most confident open positions of the block, as many as it takes to be done in time. With
g the mean distance of the best logit to the second best in the answer region, where decided
positions keep counting, everything undecided is committed, in all blocks and with the tokens of
this run, as soon as

    g >= early      in the first third of the steps (below 0.33 of them, this one counted)
    g >= middle     in the second (below 0.67)
    g >= late       in the last

The region is part of the answer, `answer_length` tokens from its `answer_start` on. Published is
five tokens behind a given phrase such as "The answer is"; give such a phrase in a template.

    steps      8, the third: 3 / 8 is beyond 0.33, so `middle` is asked for
    margins    6.0 5.5 3.0 4.5 6.5      mean 5.1: enough for a `middle` of 5.0
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding.ask import Answer, Ask, Decision
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes.base import SCHEMES, Scheme, only_blocks
from dawn_runtime.decoding.schemes.predictions import all_masks, without_mask_in
from dawn_runtime.decoding.windows import Blocks, Window
from dawn_runtime.errors import EngineError
from dawn_runtime.option_fields import option

_FIRST_THIRD, _SECOND_THIRD = 0.33, 0.67
_WIDEST = 1e6


@dataclass(frozen=True, slots=True)
class _Spent:
    """What is remembered: the first position of the block, and the steps that it has had."""

    block: int
    steps: int


@SCHEMES.register
@dataclass(frozen=True, slots=True)
class Prophet(Scheme):
    """A fixed schedule that ends early.

    The defaults are those published for LLaDA-8B-Instruct and Dream-7B-Instruct.

    Attributes:
        early: Mean margin that is enough in the first third of the steps.
        middle: In the second.
        late: In the last.
        steps: Steps of the whole answer; 0 is one for each open position.
        answer_start: Where the answer region begins, counted from the first new token.
        answer_length: Tokens of the region; 0 is all that follow.
        window: Blocks, or the whole answer as one.

    Raises:
        OptionError: An option is out of range, or the window is another.
    """

    name: ClassVar[str] = "prophet"

    early: float = option(7.5, 0, _WIDEST, "mean margin that is enough in the first third")
    middle: float = option(5.0, 0, _WIDEST, "in the second")
    late: float = option(2.5, 0, _WIDEST, "in the last")
    steps: int = option(0, 0, None, "steps of the answer; 0 is one for each open position")
    answer_start: int = option(0, 0, None, "new tokens before the region that has to stand out")
    answer_length: int = option(0, 0, None, "tokens of that region; 0 is all that follow")
    window: Window = field(default_factory=Blocks)

    def check_together(self) -> None:
        """Refuses windows that are not made of blocks."""
        only_blocks(self.name, self.window)

    def ask(self, row: RowState) -> tuple[Ask, ...]:
        """Asks for the open positions and the region in one pass."""
        wanted = row.masked.copy()
        wanted[self._region(row)] = True
        predicted, every = np.flatnonzero(wanted), np.arange(row.length)
        rows = np.maximum(predicted - row.shift, 0)
        return (Ask(row.ids, every, predict=rows, margin=True, note=predicted),)

    def decide(self, row: RowState, answers: Sequence[Answer]) -> Decision:
        """Commits everything, or what is due."""
        (answer,) = answers
        predicted: IntArray = answer.ask.note
        open_ = row.masked[predicted]
        block = open_ & _within(predicted, self.window.span(row))
        tokens, confidence = without_mask_in(block, answer, row.mask_id)
        spent = self._spent(row)
        if self._stands_out(row, answer):
            chosen = np.flatnonzero(open_)
        else:
            order = np.argsort(-confidence[block], kind="stable")
            chosen = np.flatnonzero(block)[order[: self._due(row, spent)]]
        return Decision(
            commit=predicted[chosen],
            tokens=tokens[chosen],
            confidence=confidence[chosen],
            memory=_Spent(spent.block, spent.steps + 1),
        )

    def stuck(self, row: RowState, answers: Sequence[Answer]) -> bool:
        """Tells whether every open position of the block is predicted to be the mask."""
        (answer,) = answers
        return all_masks(answer.tokens[self._block(row, answer)], row.mask_id)

    def _block(self, row: RowState, answer: Answer) -> np.ndarray:
        """Which predictions are of open positions of the block, bool [R]."""
        predicted: IntArray = answer.ask.note
        found: np.ndarray = row.masked[predicted] & _within(predicted, self.window.span(row))
        return found

    def _region(self, row: RowState) -> slice:
        begin = min(row.start + self.answer_start, row.length - 1)
        return slice(begin, begin + self.answer_length if self.answer_length else None)

    def _stands_out(self, row: RowState, answer: Answer) -> bool:
        if answer.margin is None:
            raise EngineError("scheme 'prophet' reads margins; run it on an engine with them")
        region = np.zeros(row.length, dtype=bool)
        region[self._region(row)] = True
        progress = (row.step + 1) / self._total(row)
        asked = self.late if progress >= _SECOND_THIRD else self.middle
        if progress < _FIRST_THIRD:
            asked = self.early
        return float(answer.margin[region[answer.ask.note]].mean()) >= asked

    def _total(self, row: RowState) -> int:
        """Steps of the whole answer."""
        return self.steps or row.decided + int(np.count_nonzero(row.masked))

    def _spent(self, row: RowState) -> _Spent:
        """The steps that the block has had, none if it is another than the last."""
        begin, _ = self.window.span(row)
        last: _Spent | None = row.memory
        return last if last is not None and last.block == begin else _Spent(begin, 0)

    def _due(self, row: RowState, spent: _Spent) -> int:
        """How many positions this step commits, at least one."""
        begin, end = self.window.span(row)
        share = self._total(row) * (end - begin) // (row.length - row.start)
        left = max(share - spent.steps, 1)
        return -(-int(np.count_nonzero(row.masked[begin:end])) // left)


def _within(positions: IntArray, span: tuple[int, int]) -> np.ndarray:
    found: np.ndarray = (positions >= span[0]) & (positions < span[1])
    return found
