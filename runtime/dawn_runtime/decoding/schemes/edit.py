"""Edit: what is decided may be written over until its block is final (LLaDA2.1, arXiv 2602.08676).

Every step predicts the whole block, decided positions too, and one run serves for both:

    decides      each open position with p > threshold, or if these are fewer than `least` the
                 `least` most confident ones
    writes over  each position decided in an earlier step where another token has p > edit_threshold

A block is final when all of it is decided and a run writes nothing over, or after `checks` runs
that found all of it decided. Given tokens are never touched.

    block      the _ sat    p of "cat" 0.8 at the blank, p of "a" 0.9 where "the" is
    after      a cat sat    with thresholds 0.7 and 0.5; the next run confirms or goes on

It is for models that were trained to correct tokens; one that was not mostly repeats what it sees.
`attention=blocks` is how LLaDA2.x runs: blocks count from the beginning of the row, prompt
included, and a position sees its block and those before it, so that what follows the block is not
fed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

import numpy as np

from dawn_runtime.arrays import FloatArray, IntArray
from dawn_runtime.decoding.ask import Answer, Ask, Decision
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes.base import SCHEMES, Scheme, only_blocks
from dawn_runtime.decoding.schemes.predictions import all_masks, without_mask_in
from dawn_runtime.decoding.windows import Blocks, Window
from dawn_runtime.errors import OptionError
from dawn_runtime.option_fields import option

_BY_BLOCKS: Final = "blocks"
_MOST_CHECKS = 1024


@dataclass(frozen=True, slots=True)
class _Checked:
    """What is remembered: the block, and the runs that found all of it decided."""

    block: int
    runs: int


@SCHEMES.register
@dataclass(frozen=True, slots=True)
class Edit(Scheme):
    """The threshold rule, and a second look at all tokens of a block in the same run.

    The defaults are the quality mode published for LLaDA2.1, in blocks of 32; its speed mode is
    threshold 0.5 and edit_threshold 0.

    Attributes:
        threshold: An open position is decided above this confidence.
        edit_threshold: A decided one is written over above this confidence; 1 writes nothing over.
        least: Positions decided in a step at least, while so many are open.
        checks: Most runs of a block once all of it is decided; 0 takes no second look then.
        attention: `full`, or `blocks` as in LLaDA2.x.
        window: Blocks, or the whole answer as one.

    Raises:
        OptionError: An option is out of range, or the window is another.
    """

    name: ClassVar[str] = "edit"

    threshold: float = option(0.7, 0, 1, "decided above this confidence")
    edit_threshold: float = option(0.5, 0, 1, "written over above this confidence")
    least: int = option(1, 1, None, "positions decided in a step at least")
    checks: int = option(16, 0, _MOST_CHECKS, "most runs of a block after all of it is decided")
    attention: str = option("full", help="what a position sees", choices=("full", _BY_BLOCKS))
    window: Window = field(default_factory=Blocks)

    def check_together(self) -> None:
        """Refuses windows that are not made of blocks."""
        only_blocks(self.name, self.window)

    def suits(self, shift: int) -> None:
        """Refuses models that predict the next token if blocks do not see what follows.

        Raises:
            OptionError: The model is one.
        """
        if shift and self.attention == _BY_BLOCKS:
            raise OptionError(
                "scheme 'edit' with attention=blocks would predict the first token of a block in a "
                "row that does not see it, as this model predicts the next one; use attention=full"
            )

    def bound(self, row: RowState) -> int:
        """Every run decides a position or is one of `checks` of its block."""
        return int(row.masked.sum()) * (1 + self.checks)

    def ask(self, row: RowState) -> tuple[Ask, ...]:
        """Asks for what is open or may be written over."""
        span = self._span(row)
        predicted = self._changeable(row, span)
        rows = np.maximum(predicted - row.shift, 0)
        if self.attention != _BY_BLOCKS:
            return (Ask(row.ids, np.arange(row.length), predict=rows, note=predicted),)
        fed = np.arange(span[1])
        length = self.window.block_length if isinstance(self.window, Blocks) else row.length
        sees = fed[:, None] // length >= fed // length
        return (Ask(row.ids[fed], fed, sees=sees, predict=rows, note=predicted),)

    def decide(self, row: RowState, answers: Sequence[Answer]) -> Decision:
        """Decides and writes over."""
        (answer,) = answers
        positions: IntArray = answer.ask.note
        open_ = row.masked[positions]
        tokens, confidence = without_mask_in(open_, answer, row.mask_id)
        places = np.flatnonzero(open_)
        taken = places[choose(confidence[places], self.threshold, self.least)]
        other = ~open_ & (tokens != row.ids[positions]) & (tokens != row.mask_id)
        edited = np.flatnonzero(other & (confidence > self.edit_threshold))
        chosen = np.concatenate([taken, edited])
        checked = self._checked(row, all_decided=not places.size)
        whole = len(taken) == len(places)
        ends = whole and (checked.runs >= self.checks or not chosen.size)
        return Decision(
            commit=positions[chosen],
            tokens=tokens[chosen],
            confidence=confidence[chosen],
            revoke=positions[edited],
            final=None if ends else row.final,
            memory=checked,
        )

    def stuck(self, row: RowState, answers: Sequence[Answer]) -> bool:
        """Tells whether there are open positions, and all are predicted to be the mask."""
        (answer,) = answers
        return all_masks(answer.tokens[row.masked[answer.ask.note]], row.mask_id)

    def _span(self, row: RowState) -> tuple[int, int]:
        """Returns the block that is not final: from its beginning to the one after its last."""
        ahead = row.assumed(np.arange(row.length) >= row.final)
        return self.window.span(replace(ahead, start=0) if self.attention == _BY_BLOCKS else ahead)

    def _changeable(self, row: RowState, span: tuple[int, int]) -> IntArray:
        """Positions of a block that were not given, int64 [n]."""
        begin, end = span
        return begin + np.flatnonzero(row.masked[begin:end] | (row.commit_step[begin:end] >= 0))

    def _checked(self, row: RowState, *, all_decided: bool) -> _Checked:
        """What is remembered after a run."""
        begin, _ = self._span(row)
        last: _Checked | None = row.memory
        before = last.runs if last is not None and last.block == begin else 0
        return _Checked(begin, before + all_decided)


def choose(confidence: FloatArray, threshold: float, least: int) -> IntArray:
    """Returns which open positions are decided, int64 [m].

    Args:
        confidence: float32 [n] of the open positions, 0 where the mask is predicted.
        threshold: As in `Edit`.
        least: Most confident ones that are taken if fewer are above it.
    """
    sure = np.flatnonzero(confidence > threshold)
    if len(sure) >= least:
        return sure
    best = np.argsort(-confidence, kind="stable")[:least]
    return np.sort(best[confidence[best] > 0])
