"""WINO: accept widely, check narrowly, take back (arXiv 2507.18578, ICLR 2026).

Every step feeds the row and behind it a shadow of the block: one mask for each of its positions,
standing where that position stands. Ordinary rows do not see the shadow. A shadow row sees
everything but the real token of its own position, so it says what the model would write there if
it were still open. With p the confidence of the open positions of the block and q the probability
that the shadow gives to a token accepted in an earlier step, one step

    accepts   every open position with p > threshold, at most the `max_accept` most confident of
              them, max_accept = min(max(0.7 n, 5), most) of n open ones; else the single best
    revokes   if it accepts two or more: accepted tokens with q < revoke_threshold; if there are as
              many as the step before accepted (30 in the first step of a block) or more, only the
              least probable, one fewer than that

Each block thus gains a token a step over its run, which is what makes it end. A block is final when
it has no open position; what its last step accepted is not checked any more.

Five tokens, the last three a block. Position 3 was accepted as 8 in the step before:

    position   0  1  2  3  4 | 2  3  4      the shadow
    token      5  6  _  8  _ | _  _  _
    predict          *     * |    *         open positions, and the shadow of what was accepted
    row 6, the shadow of position 3, sees every column but 3
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray
from dawn_runtime.decoding.ask import Answer, Ask, Decision, nothing
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes.base import SCHEMES, Scheme, only_blocks
from dawn_runtime.decoding.schemes.predictions import all_masks, without_mask
from dawn_runtime.decoding.windows import Blocks, Window
from dawn_runtime.errors import OptionError
from dawn_runtime.option_fields import option

_OPENING = 30
"""Tokens that count as accepted before the first step of a block."""


@dataclass(frozen=True, slots=True)
class _Last:
    """What is remembered of the step before: how many it accepted, and in which block."""

    block: int
    accepted: int


@SCHEMES.register
@dataclass(frozen=True, slots=True)
class Wino(Scheme):
    """Shadow rows and revocation.

    Published for LLaDA-8B-Instruct, threshold: GSM8K 0.6; MATH-500, HumanEval and Sudoku 0.7;
    MBPP 0.8; Countdown and ARC 0.5; in blocks of 128.

    Attributes:
        threshold: An open position is accepted above this confidence.
        revoke_threshold: An accepted token is taken back below this probability.
        most: Most tokens accepted in a step, >= 5.
        window: Blocks, or the whole answer as one.

    Raises:
        OptionError: An option is out of range, or the window is another.
    """

    name: ClassVar[str] = "wino"

    threshold: float = option(0.6, 0, 1, "accepted above this confidence")
    revoke_threshold: float = option(0.9, 0, 1, "taken back below this probability")
    most: int = option(20, 5, None, "most tokens accepted in a step")
    window: Window = field(default_factory=lambda: Blocks(128))

    def check_together(self) -> None:
        """Refuses windows that are not made of blocks."""
        only_blocks(self.name, self.window)

    def suits(self, shift: int) -> None:
        """Refuses models that predict the next token.

        Raises:
            OptionError: The model is one.
        """
        if shift:
            raise OptionError(
                "scheme 'wino' checks a token in a row that predicts its own position; this model "
                "predicts the next one; use freedave or a policy"
            )

    def ask(self, row: RowState) -> tuple[Ask, ...]:
        """Asks for the row and the shadow of its block in one pass."""
        begin, end = self.window.span(row)
        block, length = np.arange(begin, end), row.length
        accepted = self._accepted(row)
        return (
            Ask(
                tokens=np.concatenate([row.ids, np.full(len(block), row.mask_id)]),
                positions=np.concatenate([np.arange(length), block]),
                sees=_sees(length, block),
                predict=np.concatenate([self._open(row), length + accepted - begin]),
                logits=bool(accepted.size),
            ),
        )

    def decide(self, row: RowState, answers: Sequence[Answer]) -> Decision:
        """Accepts and revokes."""
        (answer,) = answers
        begin, _ = self.window.span(row)
        open_, accepted = self._open(row), self._accepted(row)
        count = len(open_)
        tokens, confidence = self._predicted(row, answer)
        taken = choose(confidence, self.threshold, self._most(count))
        last: _Last | None = row.memory
        revoked = nothing()
        if len(taken) > 1 and accepted.size and answer.logits is not None:
            quality = probability_beside_best(
                answer.logits[count:],
                row.ids[accepted],
                answer.tokens[count:],
                answer.confidence[count:],
            )
            before = last.accepted if last and last.block == begin else _OPENING
            revoked = accepted[doubted(quality, self.revoke_threshold, before)]
        ends = count == len(taken) and not revoked.size
        return Decision(
            commit=open_[taken],
            tokens=tokens[taken],
            confidence=confidence[taken],
            revoke=revoked,
            final=None if ends else begin,
            memory=_Last(begin, len(taken)),
        )

    def stuck(self, row: RowState, answers: Sequence[Answer]) -> bool:
        """Tells whether every open position is predicted to be the mask."""
        return all_masks(answers[0].tokens[: len(self._open(row))], row.mask_id)

    def _predicted(self, row: RowState, answer: Answer) -> tuple[IntArray, FloatArray]:
        count = len(self._open(row))
        logits = None if answer.logits is None else answer.logits[:count]
        return without_mask(answer.tokens[:count], answer.confidence[:count], logits, row.mask_id)

    def _most(self, count: int) -> int:
        return min(max(int(0.7 * count), 5), self.most)

    def _open(self, row: RowState) -> IntArray:
        begin, end = self.window.span(row)
        return begin + np.flatnonzero(row.masked[begin:end])

    def _accepted(self, row: RowState) -> IntArray:
        """Positions of the block that were decided by decoding, so may be taken back."""
        begin, end = self.window.span(row)
        return begin + np.flatnonzero(row.commit_step[begin:end] >= 0)


def choose(confidence: FloatArray, threshold: float, most: int) -> IntArray:
    """Returns which open positions are accepted, int64 [m], m >= 1, ascending.

    Args:
        confidence: float32 [n] of the open positions, n >= 1.
        threshold: As in `Wino`.
        most: Most that are accepted.
    """
    sure = np.flatnonzero(confidence > threshold)
    if len(sure) > most:
        order = np.argsort(-confidence, kind="stable")
        return np.sort(order[:most])
    return sure if sure.size else np.array([int(confidence.argmax())])


def probability_beside_best(
    logits: FloatArray, tokens: IntArray, best: IntArray, confidence: FloatArray
) -> FloatArray:
    """Returns the probability of one token at each position, float32 [n].

    It is in the model's own distribution, as the confidence is, and takes no sum over it.

    Args:
        logits: float32 [n, V].
        tokens: int64 [n] ids.
        best: int64 [n] ids predicted.
        confidence: float32 [n] their probabilities.
    """
    rows = np.arange(len(tokens))
    found: FloatArray = confidence * np.exp(logits[rows, tokens] - logits[rows, best])
    return found


def doubted(quality: FloatArray, threshold: float, before: int) -> IntArray:
    """Returns which accepted tokens are taken back, int64 [m].

    Args:
        quality: float32 [n] probability that the shadow gives to each.
        threshold: `revoke_threshold` of `Wino`.
        before: Tokens that the step before accepted; fewer than so many are taken back.
    """
    below = np.flatnonzero(quality < threshold)
    if len(below) < before:
        return below
    return np.argsort(quality, kind="stable")[: before - 1]


def _sees(length: int, block: IntArray) -> BoolArray:
    """Who looks at what: bool [L+B, L+B]."""
    sees = np.ones((length + len(block), length + len(block)), dtype=bool)
    sees[:length, length:] = False
    sees[length + np.arange(len(block)), block] = False
    return sees
