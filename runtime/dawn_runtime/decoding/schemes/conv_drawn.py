"""Conv as first published: positions and tokens drawn, near known tokens first (arXiv 2509.15188).

The whole answer is one window, decided in S steps between the times 1 and almost 0. In the step
from time t to s, with p_1 >= ... >= p_(k+1) the best probabilities at an undecided position i, the
mask left out, and n_i the known tokens in a stretch of `width` around it, prompt included,

    w_i = tanh(strength n_i)
    token v weighs   p_v w_i M / sum over all M undecided j of w_j (p_1 + ... + p_(k+1)) * (t - s)
    waiting weighs   s

for the first k of them; the last counts in the sum alone, as in the published code. Of these one is
drawn. What still waits after the last step is filled in with the best tokens. A step may decide
nothing; the draws are a hash of seed, step, position and rank, so equal rows have equal answers.

With `eos_fill`, the id of an end token, all that is not given behind the second one of the row,
prompt included, becomes that token after every step, what was decided before too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dawn_runtime._hashing import Hash, mix, unit
from dawn_runtime.arrays import FloatArray, IntArray
from dawn_runtime.decoding.ask import Answer, Ask, Decision
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes.base import SCHEMES, Scheme
from dawn_runtime.errors import EngineError, OptionError
from dawn_runtime.option_fields import option
from dawn_runtime.policies.conv import known_around

_Weights = NDArray[np.float64]
_LAST = 1e-5
_TINY = 1e-10
_STRONGEST = 1e6
_LARGEST_SEED = 2**64 - 1


@SCHEMES.register
@dataclass(frozen=True, slots=True)
class ConvDrawn(Scheme):
    """Draws what is decided and as what.

    Published for LLaDA-8B: AlpacaEval width 512, answers of 1024 tokens in 128 steps, 20 tokens
    drawn from; GSM8K 128, 512, 64 and 1.

    Attributes:
        width: Of what counts as around a position, itself in the middle; an even one is one more.
        strength: How fast known tokens count.
        steps: Steps of the answer; 0 is one for each open position.
        top_k: Tokens of a position that are drawn from.
        seed: Of the draws.
        eos_fill: End token that fills all behind the second one, such as 126081 in LLaDA; None
            fills nothing.

    Raises:
        OptionError: An option is out of range.
    """

    name: ClassVar[str] = "conv-drawn"

    width: int = option(128, 1, None, "width of what counts as around a position")
    strength: float = option(1.0, 0, _STRONGEST, "how fast known tokens around it count")
    steps: int = option(0, 0, None, "steps of the answer; 0 is one for each open position")
    top_k: int = option(20, 1, None, "tokens of a position that are drawn from")
    seed: int = option(0, 0, None, "of the draws", ceiling=_LARGEST_SEED)
    eos_fill: int | None = option(
        None, 0, None, "id of an end token that fills all behind the second one", kind=int
    )

    def bound(self, row: RowState) -> int:
        """All steps and one that fills in what is left."""
        return self._total(row) + 1

    def ask(self, row: RowState) -> tuple[Ask, ...]:
        """Asks for the logits of all open positions."""
        open_, every = np.flatnonzero(row.masked), np.arange(row.length)
        rows = np.maximum(open_ - row.shift, 0)
        return (Ask(row.ids, every, predict=rows, logits=True, note=open_),)

    def decide(self, row: RowState, answers: Sequence[Answer]) -> Decision:
        """Draws for each open position: one of its tokens, or waiting."""
        (answer,) = answers
        open_: IntArray = answer.ask.note
        if answer.logits is None:
            raise EngineError(
                "scheme 'conv-drawn' reads logits; run it on an engine that returns them"
            )
        tokens, probabilities = best_tokens(answer.logits, self.top_k + 1, row.mask_id)
        if row.step >= self._total(row):
            drawn, taken = np.zeros(len(open_), dtype=np.int64), np.ones(len(open_), dtype=bool)
        else:
            weights = self.weights(row, open_, probabilities)
            draws = self.draws(row.step, open_, weights.shape[1])
            drawn = (weights / (_TINY - np.log(draws + _TINY))).argmax(axis=1)
            taken = drawn < weights.shape[1] - 1
        places = np.flatnonzero(taken)
        made = Decision(
            commit=open_[places],
            tokens=tokens[places, drawn[places]],
            confidence=probabilities[places, drawn[places]].astype(np.float32),
        )
        return made if self.eos_fill is None else filled(row, made, self._end(answer.logits))

    def weights(self, row: RowState, open_: IntArray, probabilities: _Weights) -> _Weights:
        """Returns what the tokens weigh and, in the last column, what waiting weighs; [n, k+1].

        Args:
            row: The row before the step.
            open_: int64 [n] its open positions.
            probabilities: float64 [n, k+1] the best ones there, descending.
        """
        times = np.linspace(1, _LAST, self._total(row) + 1)
        now, then = times[row.step], times[row.step + 1]
        near = np.tanh(self.strength * known_around(row.masked, open_, self.width))
        whole = max(float((near * probabilities.sum(axis=1)).sum()), _TINY)
        weights: _Weights = probabilities * (near * len(open_) / whole)[:, None] * (now - then)
        weights[:, -1] = then
        return weights

    def draws(self, step: int, positions: IntArray, count: int) -> _Weights:
        """Returns numbers from [0, 1), float64 [n, count].

        Args:
            step: Steps that the row has taken.
            positions: int64 [n] open positions.
            count: Numbers for each.
        """
        numbers: Hash = np.array([self.seed], dtype=np.uint64)
        for part in (np.array([step]), positions[:, None], np.arange(count)):
            numbers = mix(mix(numbers) + part.astype(np.uint64))
        return unit(numbers)

    def _end(self, logits: FloatArray) -> int:
        """The end token that fills; there is one."""
        end, size = self.eos_fill or 0, logits.shape[1]
        if end >= size:
            raise OptionError(
                f"scheme {self.name!r}: eos_fill is {end}; expected an id of the vocabulary, 0 to "
                f"{size - 1}"
            )
        return end

    def _total(self, row: RowState) -> int:
        """Steps of the whole answer."""
        return self.steps or row.decided + int(np.count_nonzero(row.masked))


def best_tokens(logits: FloatArray, count: int, mask_id: int) -> tuple[IntArray, _Weights]:
    """Returns the best tokens but the mask and their probabilities among all, best first.

    Args:
        logits: float32 [n, V].
        count: How many of each row; at most V - 1 are returned.
        mask_id: Id of an undecided position.

    Returns:
        int64 and float64, both [n, count].
    """
    below = (logits - logits.max(axis=1, keepdims=True)).astype(np.float64)
    whole = np.exp(below).sum(axis=1, keepdims=True)
    if mask_id < below.shape[1]:
        below[:, mask_id] = -np.inf
    count = min(count, below.shape[1] - 1)
    some = np.argpartition(-below, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(below, some, axis=1), axis=1, kind="stable")
    tokens = np.take_along_axis(some, order, axis=1)
    return tokens, np.exp(np.take_along_axis(below, tokens, axis=1)) / whole


def filled(row: RowState, made: Decision, end: int) -> Decision:
    """Returns a decision with end tokens behind the second one of the row, if there are two.

    What is filled in counts as certain.

    Args:
        row: The row before the step.
        made: What is decided otherwise.
        end: The end token.
    """
    ids = row.ids.copy()
    ids[made.commit] = made.tokens
    ends = np.flatnonzero(ids == end)
    if len(ends) < 2:
        return made
    behind = np.arange(row.length) > ends[1]
    places = np.flatnonzero(behind & (row.masked | (row.commit_step >= 0)) & (ids != end))
    stay = ~np.isin(made.commit, places)
    return Decision(
        commit=np.concatenate([made.commit[stay], places]),
        tokens=np.concatenate([made.tokens[stay], np.full(len(places), end)]),
        confidence=np.concatenate([made.confidence[stay], np.ones(len(places), np.float32)]),
        revoke=places[~row.masked[places]],
    )
