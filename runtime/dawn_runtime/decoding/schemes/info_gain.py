"""Info-Gain: of a few candidates, the one after which the row is clearest (arXiv 2602.18176, 2026).

One token a step, but not simply the most confident one. Candidates are the most confident position
of the block and others drawn near it,

    argmax over open positions i of the block of  p_i / temperature + g_i,  g_i of Gumbel's law

each filled in as a row of the same run, a look ahead. With H the entropy of a prediction, the one
of the greatest

    J = - H(its position, before) - mean of H over all that is still open in the row, after

is committed, and its row of the run holds the predictions of the next step; variant `lookum` leaves
out the first term, the price of the step. Where all open positions of the block are sure, or only
one is left, they are committed without a look.

    open       H before   after it, the rest has on average   J
    2 "cat"    0.1        0.9                                 -1.0
    3 "sat"    0.3        0.5                                 -0.8    committed, though less sure

The published code runs the model once more where a block ends with a single position and where the
next begins; here the first of the two has no run. Draws are a hash of seed, step, position and
candidate, so equal rows have equal answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray
from dawn_runtime.decoding.ask import Answer, Ask, Decision
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes.base import SCHEMES, Scheme, only_blocks
from dawn_runtime.decoding.schemes.predictions import all_masks, without_mask_in
from dawn_runtime.decoding.windows import Blocks, Window
from dawn_runtime.errors import EngineError
from dawn_runtime.option_fields import option
from dawn_runtime.policies.order import LARGEST_SEED, draws

_LOOKUM: Final = "lookum"
_HOTTEST = 100.0
_MOST_CANDIDATES = 64
_TINY = 1e-10
_Commits = tuple[IntArray, IntArray, FloatArray]
"""Positions, tokens, confidences."""


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """What a run says of a row.

    Attributes:
        positions: int64 [n] open positions of the whole row, ascending.
        tokens: int64 [n] predicted there.
        confidence: float32 [n] their probabilities, 0 where the mask is predicted.
        entropy: float32 [n] of these predictions, in nats.
    """

    positions: IntArray
    tokens: IntArray
    confidence: FloatArray
    entropy: FloatArray

    def within(self, span: tuple[int, int], mask_id: int) -> IntArray:
        """Returns which of them lie in a window and are not predicted to be the mask, int64 [m]."""
        here = (self.positions >= span[0]) & (self.positions < span[1])
        return np.flatnonzero(here & (self.tokens != mask_id))

    def commits(self, which: IntArray) -> _Commits:
        """Returns positions, tokens and confidences of some of them."""
        return self.positions[which], self.tokens[which], self.confidence[which]


@SCHEMES.register
@dataclass(frozen=True, slots=True)
class InfoGain(Scheme):
    """Looks ahead at a few candidates and commits the one that clears up most.

    The defaults are those published for LLaDA-8B-Instruct and Dream-7B-Instruct, in blocks of 32.

    Attributes:
        candidates: Positions looked at in a step, as rows of one run; fewer where the same is drawn
            again. 1 is the most confident alone.
        position_temperature: How far from the most confident candidates are drawn; 0 draws
            none.
        threshold: A block whose open positions all have this confidence is filled at once.
        variant: `info-gain`, or `lookum` without the price of a candidate.
        seed: Of the draws.
        window: Blocks, or the whole answer as one.

    Raises:
        OptionError: An option is out of range, or the window is another.
    """

    name: ClassVar[str] = "info-gain"

    candidates: int = option(8, 1, _MOST_CANDIDATES, "positions looked at in a step")
    position_temperature: float = option(
        0.2, 0, _HOTTEST, "how far from the most confident position others are drawn"
    )
    threshold: float = option(0.8, 0, 1, "a block that is this sure throughout is filled at once")
    variant: str = option(
        "info-gain", help="what a candidate is judged by", choices=("info-gain", _LOOKUM)
    )
    seed: int = option(0, 0, None, "of the draws", ceiling=LARGEST_SEED)
    window: Window = field(default_factory=Blocks)

    def check_together(self) -> None:
        """Refuses windows that are not made of blocks."""
        only_blocks(self.name, self.window)

    def most_asks(self) -> int:
        """Returns the number of candidates."""
        return self.candidates

    def ask(self, row: RowState) -> tuple[Ask, ...]:
        """Asks for the row with each candidate filled in, or as it is if nothing is known of it."""
        outlook: Outlook | None = row.memory
        if outlook is None:
            return (_whole(row, row.ids, row.masked),)
        asks = []
        for place in self.drawn(row, outlook):
            ids, masked = row.ids.copy(), row.masked.copy()
            position = outlook.positions[place]
            ids[position], masked[position] = outlook.tokens[place], False
            asks.append(_whole(row, ids, masked))
        return tuple(asks)

    def decide(self, row: RowState, answers: Sequence[Answer]) -> Decision:
        """Commits the best candidate, and what then needs no look."""
        before: Outlook | None = row.memory
        outlooks = [self._outlook(row, answer) for answer in answers]
        if before is None:
            return self._decision(row, [], outlooks[0])
        drawn = self.drawn(row, before)
        best = int(np.argmax(self.gains(before.entropy[drawn], outlooks)))
        return self._decision(row, [before.commits(drawn[best : best + 1])], outlooks[best])

    def stuck(self, row: RowState, answers: Sequence[Answer]) -> bool:
        """Tells whether all that is open in the block is predicted to be the mask, in some row."""
        return any(
            all_masks(answer.tokens[self._here(row, answer)], row.mask_id) for answer in answers
        )

    def drawn(self, row: RowState, outlook: Outlook) -> IntArray:
        """Returns which of the open positions are candidates, int64 [m], m >= 1, each once.

        Args:
            row: The row before the step.
            outlook: What is known of it.
        """
        real = outlook.within(self.window.span(row), row.mask_id)
        uniform = self.draws(row.step, outlook.positions[real])
        gumbel = -np.log(-np.log(uniform + _TINY) + _TINY)
        # Times the temperature instead of divided by it, so that it may be 0.
        keys = outlook.confidence[real] + self.position_temperature * gumbel
        best = [int(outlook.confidence[real].argmax()), *keys.argmax(axis=1).tolist()]
        return real[list(dict.fromkeys(best))]

    def draws(self, step: int, positions: IntArray) -> NDArray[np.float64]:
        """Returns numbers from [0, 1), [candidates - 1, n].

        Args:
            step: Steps that the row has taken.
            positions: int64 [n] open positions of the block.
        """
        numbers = step * _MOST_CANDIDATES + np.arange(self.candidates - 1)
        return draws(self.seed, numbers[:, None], positions)

    def gains(self, price: FloatArray, outlooks: Sequence[Outlook]) -> FloatArray:
        """Returns J of the module for each candidate, float32 [m].

        Args:
            price: float32 [m] entropy of each before it is filled in.
            outlooks: What is known after it; something is open in each.
        """
        left = np.array([outlook.entropy.mean() for outlook in outlooks], dtype=np.float32)
        gains: FloatArray = -left if self.variant == _LOOKUM else -price - left
        return gains

    def _decision(self, row: RowState, first: Sequence[_Commits], after: Outlook) -> Decision:
        """Commits what was chosen, if anything, and what then needs no look."""
        rest = self._rest(row, after)
        parts = [*first, after.commits(rest)]
        return Decision(
            commit=np.concatenate([positions for positions, _, _ in parts]),
            tokens=np.concatenate([tokens for _, tokens, _ in parts]),
            confidence=np.concatenate([confidence for _, _, confidence in parts]),
            memory=None if rest.size else after,
        )

    def _rest(self, row: RowState, outlook: Outlook) -> IntArray:
        """Returns what is open in the block if it needs no look, and nothing otherwise."""
        begin, end = span = self.window.span(row)
        here = (outlook.positions >= begin) & (outlook.positions < end)
        real = outlook.within(span, row.mask_id)
        sure = len(real) == 1 or bool((outlook.confidence[real] >= self.threshold).all())
        return real if sure and len(real) == np.count_nonzero(here) else real[:0]

    def _outlook(self, row: RowState, answer: Answer) -> Outlook:
        if answer.entropy is None:
            raise EngineError("scheme 'info-gain' reads entropy; run it on an engine with it")
        tokens, confidence = without_mask_in(self._here(row, answer), answer, row.mask_id)
        return Outlook(answer.ask.note, tokens, confidence, answer.entropy)

    def _here(self, row: RowState, answer: Answer) -> BoolArray:
        """Which predictions are of the block, bool [R]."""
        begin, end = self.window.span(row)
        positions: IntArray = answer.ask.note
        here: BoolArray = (positions >= begin) & (positions < end)
        return here


def _whole(row: RowState, ids: IntArray, masked: BoolArray) -> Ask:
    """Asks for all that is open in a row with other ids."""
    open_ = np.flatnonzero(masked)
    rows = np.maximum(open_ - row.shift, 0)
    return Ask(ids, np.arange(row.length), predict=rows, entropy=True, note=open_)
