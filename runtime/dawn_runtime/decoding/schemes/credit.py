"""Credit: what was predicted again and again counts for more (CreditDecoding, dInfer).

Every open position of the block keeps a credit for each token, 0 at first. After a run, with v the
best token there and p its probability, all credits shrink by `decay`, and that of v grows by
p^`gamma`. Then a token with logit z and credit m counts as z + `alpha` ln(1 + m), which decides the
token that is taken and its confidence, and what reaches the `threshold` is committed, at least the
best.
A token that was best several times so gets ahead of one that is best only now.

The rule is the `credit` decoder of dInfer (inclusionAI/dInfer, arXiv 2510.06133). It reads logits,
but only those of tokens with a credit: with the probability of the best token, which the engine
gives, they say what all others weigh together.

    logits     2.0 and 1.9; the second was the best of the two steps before, with p = 0.6
    credits    0.4^0.2 = 0.83 for the first, if it has 0.4 now; (0.9 * 0.8 + 0.9) * 0.8 = 1.3
    count as   2.0 + 0.7 ln 1.83 = 2.42 and 1.9 + 0.7 ln 2.3 = 2.48: the second is taken
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from dawn_runtime.arrays import FloatArray, IntArray, read_only
from dawn_runtime.decoding.ask import Answer, Ask, Decision
from dawn_runtime.decoding.caches import Cache, NoCache
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes.base import SCHEMES, Scheme, only_looking_ahead
from dawn_runtime.decoding.schemes.unmask import Unmask
from dawn_runtime.decoding.windows import Blocks, Window
from dawn_runtime.errors import EngineError
from dawn_runtime.option_fields import option
from dawn_runtime.policies import Threshold

_LARGEST = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class Credits:
    """Credits of a row that are not 0.

    Attributes:
        positions: int64 [E] ascending.
        tokens: int64 [E] ascending at each position.
        amounts: float32 [E].
    """

    positions: IntArray
    tokens: IntArray
    amounts: FloatArray

    def grown(
        self, positions: IntArray, tokens: IntArray, gains: FloatArray, decay: float, size: int
    ) -> "Credits":
        """Returns them after a run; those of other positions than its own are left out.

        Args:
            positions: int64 [n] ascending.
            tokens: int64 [n] the best there.
            gains: float32 [n] what their credit grows by.
            decay: Part of the old ones that stays.
            size: Number of tokens there are.
        """
        stay = np.isin(self.positions, positions, assume_unique=False)
        old = self.positions[stay] * size + self.tokens[stay]
        new = positions * size + tokens
        keys = np.union1d(old, new)
        amounts = np.zeros(len(keys), dtype=np.float32)
        amounts[np.searchsorted(keys, old)] = self.amounts[stay] * np.float32(decay)
        amounts[np.searchsorted(keys, new)] += gains
        return Credits(read_only(keys // size), read_only(keys % size), read_only(amounts))


_NO_CREDITS = Credits(
    np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
)


@dataclass(frozen=True, slots=True, eq=False)
class _Past:
    """What is remembered of a row: the part of the threshold rule, and the credits."""

    unmask: Any = None
    credits: Credits = _NO_CREDITS


_NO_PAST = _Past()


@SCHEMES.register
@dataclass(frozen=True, slots=True)
class Credit(Scheme):
    """The threshold rule on predictions that earlier steps have a say in.

    The defaults are those of the published code, for LLaDA and LLaDA-MoE in blocks of 32; none were
    published for Dream.

    Attributes:
        threshold: Least confidence.
        alpha: How much a credit counts.
        gamma: What a probability is raised to; below 1, unsure predictions gain credit too.
        decay: Part of a credit that is left after a step.
        window: Where positions are decided.
        cache: What is computed for it.

    Raises:
        OptionError: An option is out of range, or the cache is of other models.
    """

    name: ClassVar[str] = "credit"

    threshold: float = option(0.9, 0, 1, "least confidence")
    alpha: float = option(0.7, 0, _LARGEST, "how much a credit counts")
    gamma: float = option(0.2, 0, _LARGEST, "what a probability is raised to before it is added")
    decay: float = option(0.8, 0, 1, "part of a credit that is left after a step")
    window: Window = field(default_factory=Blocks)
    cache: Cache = field(default_factory=NoCache)

    def check_together(self) -> None:
        """Refuses a cache of models that do not look ahead."""
        only_looking_ahead(f"scheme {self.name!r}", self.cache)

    def ask(self, row: RowState) -> tuple[Ask, ...]:
        """Asks for what the threshold rule asks for, and logits."""
        past: _Past = row.memory or _NO_PAST
        (asked,) = self._rule().ask(replace(row, memory=past.unmask))
        return (replace(asked, logits=True),)

    def decide(self, row: RowState, answers: Sequence[Answer]) -> Decision:
        """Gives credit, and lets the threshold rule choose among what it makes of the answer."""
        (answer,) = answers
        past: _Past = row.memory or _NO_PAST
        credited, given = self.credited(answer, answer.ask.note.predicted, past.credits)
        made = self._rule().decide(replace(row, memory=past.unmask), (credited,))
        return replace(made, memory=_Past(made.memory, given))

    def credited(
        self, answer: Answer, positions: IntArray, before: Credits
    ) -> tuple[Answer, Credits]:
        """Returns an answer with other tokens and confidences, and the credits that made them.

        Args:
            answer: What came back.
            positions: int64 [R] positions that were predicted, ascending.
            before: Credits after the step before.

        Raises:
            EngineError: The answer has no logits.
        """
        if answer.logits is None:
            raise EngineError("scheme 'credit' reads logits; run it on an engine that returns them")
        gains = answer.confidence ** np.float32(self.gamma)
        size = answer.logits.shape[1]
        given = before.grown(positions, answer.tokens, gains, self.decay, size)
        rows = np.searchsorted(positions, given.positions)
        best = np.take_along_axis(answer.logits, answer.tokens[:, None], axis=1)[:, 0]
        below = answer.logits[rows, given.tokens] - best[rows]
        counted = below + np.float32(self.alpha) * np.log1p(given.amounts)
        starts = np.searchsorted(rows, np.arange(len(positions)))
        # Relative to the best logit, so that all tokens together weigh 1 / p.
        others = 1 / answer.confidence - np.add.reduceat(np.exp(below), starts)
        most = np.maximum.reduceat(counted, starts)
        weights = np.exp(counted - most[rows])
        total = np.maximum(others, 0) * np.exp(-most) + np.add.reduceat(weights, starts)
        first = np.flatnonzero(counted == most[rows])
        taken = first[np.searchsorted(rows[first], np.arange(len(positions)))]
        confidence: FloatArray = (1 / total).astype(np.float32)
        return replace(answer, tokens=given.tokens[taken], confidence=confidence), given

    def _rule(self) -> Unmask:
        return Unmask(Threshold(self.threshold), self.window, self.cache)
