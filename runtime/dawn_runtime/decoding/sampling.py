"""Sampling: tokens drawn from the predicted distributions instead of the most probable ones.

Tokens can be forbidden, drawn or not: distributions are then those of the others, confidence
included. That is LLaDA's flag `logits_eos_inf`, for its end token, and dLLM's `suppress_tokens`.

One number from [0, 1) belongs to each position of a row, a hash of seed and position. The same
number is used in every step, so a position that has to wait does not get another chance to come out
confident, and a result depends on nothing but prompt, options and seed: not on the batch, and not
on how many steps there were before.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dawn_runtime._hashing import mix, unit
from dawn_runtime.arrays import FloatArray, IntArray, inverse, read_only
from dawn_runtime.errors import EngineError, OptionError
from dawn_runtime.option_fields import Options, option
from dawn_runtime.policies import RowView

_HOTTEST = 100.0
_STRONGEST = 100.0
_LARGEST_SEED = 2**64 - 1
_Weights = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sampling(Options):
    """How tokens are drawn; by default the most probable one is taken and no logits are fetched.

    Attributes:
        temperature: Divides the logits before tokens are drawn, from 0 to 100; 0 draws nothing.
        top_p: Draw from the fewest tokens that hold this share of the probability; 1 is all.
        top_k: Draw from that many most probable tokens (before `top_p`); 0 is all.
        seed: Another seed draws other tokens, from 0 to 2^64 - 1.
        forbid: Ids of tokens that are never taken, one or a list; kept as an ascending tuple. None
            forbids none.
        guidance: How far predictions are moved away from those without the prompt, from 0, not at
            all, to 100; see `dawn_runtime.decoding.guidance`.

    Raises:
        OptionError: An option is out of range, or `top_p` or `top_k` is given without temperature.
    """

    kind: ClassVar[str] = "sampling"

    temperature: float = option(0.0, 0, _HOTTEST, "above 0, tokens are drawn")
    top_p: float = option(1.0, 0, 1, "share of the probability that is drawn from")
    top_k: int = option(0, 0, None, "number of tokens drawn from; 0 is all")
    seed: int = option(0, 0, None, "of the draw", ceiling=_LARGEST_SEED)
    forbid: tuple[int, ...] | None = option(
        None, 0, None, "id of a token that is never taken", kind=int, several=True
    )
    guidance: float = option(
        0.0, 0, _STRONGEST, "how far predictions move away from those without the prompt"
    )

    def check_together(self) -> None:
        """Refuses to restrict a draw that there is not."""
        if self.is_greedy and (self.top_p < 1 or self.top_k):
            raise OptionError("top_p and top_k need a temperature above 0; got temperature 0")

    @property
    def is_greedy(self) -> bool:
        """True if nothing is drawn."""
        return self.temperature == 0

    @property
    def reads_logits(self) -> bool:
        """True if tokens are not simply those that the engine returns."""
        return not self.is_greedy or self.forbid is not None

    def apply(self, view: RowView, mask_id: int) -> RowView:
        """Draws a token for every candidate, or takes the most probable one that is not forbidden.

        Its confidence becomes the probability that the model gives it, at temperature 1 and among
        all tokens but the forbidden ones, so that thresholds mean the same as without sampling. The
        mask is never drawn.

        Args:
            view: A row with the logits of its predictions.
            mask_id: Id of an undecided position.

        Raises:
            EngineError: The view has no logits.
        """
        if view.logits is None:
            raise EngineError("sampling reads logits; run it on an engine that returns them")
        rows = inverse(view.predicted, len(view.masked))[view.candidates]
        logits = view.logits[rows]
        if self.forbid is not None:
            logits[:, list(self.forbid)] = -np.inf
        drawn = self.draw(logits, view.candidates, mask_id)
        tokens, confidence = view.tokens.copy(), view.confidence.copy()
        tokens[view.candidates] = drawn
        confidence[view.candidates] = probability(logits, drawn)
        return replace(view, tokens=read_only(tokens), confidence=read_only(confidence))

    def draw(self, logits: FloatArray, positions: IntArray, mask_id: int) -> IntArray:
        """Returns one token for each position, int64 [N].

        Args:
            logits: float32 [N, V].
            positions: int64 [N] where in the row they are.
            mask_id: Id that is never drawn.
        """
        weights = logits.astype(np.float64)
        weights[:, mask_id] = -np.inf
        if self.is_greedy:
            best: IntArray = weights.argmax(axis=1)
            return best
        chances = self.chances(positions)
        # The best is taken off first: divided by a tiny temperature it would be infinite.
        weights -= weights.max(axis=1, keepdims=True)
        with np.errstate(over="ignore"):  # as improbable as can be
            weights = np.exp(weights / self.temperature)
        pairs = zip(weights, chances, strict=True)
        return np.array([_pick(self._shortlist(row), chance) for row, chance in pairs], np.int64)

    def chances(self, positions: IntArray) -> _Weights:
        """Returns the number from [0, 1) that belongs to each position.

        Args:
            positions: int64 [N] positions in a row.
        """
        seed = mix(np.array([self.seed], dtype=np.uint64))
        return unit(mix(seed + positions.astype(np.uint64)))

    def _shortlist(self, weights: _Weights) -> _Weights:
        """Sets the weights [V] of all tokens to 0 that are not to be drawn."""
        if 0 < self.top_k < len(weights):
            least = np.partition(weights, -self.top_k)[-self.top_k]
            weights = np.where(weights >= least, weights, 0.0)
        if self.top_p < 1:
            weights = _nucleus(weights, self.top_p)
        return weights


GREEDY = Sampling()
"""Takes the most probable tokens."""


def _nucleus(weights: _Weights, share: float) -> _Weights:
    """Keeps the fewest weights that make up a share of their sum."""
    total = weights.sum()
    # All weights up to this one together are less than 1 - share: sort the rest only.
    heavy = np.flatnonzero(weights > (1 - share) * total / len(weights))
    order = heavy[np.argsort(-weights[heavy], kind="stable")]
    count = 1 + int(np.searchsorted(np.cumsum(weights[order]), share * total))
    kept = np.zeros_like(weights)
    kept[order[:count]] = weights[order[:count]]
    return kept


def _pick(weights: _Weights, chance: float) -> int:
    """Returns the index at which the running sum passes a part of the sum."""
    sums = np.cumsum(weights)
    index = int(np.searchsorted(sums, chance * sums[-1], side="right"))
    return min(index, int(np.flatnonzero(weights)[-1]))  # rounding may have reached the sum itself


def probability(logits: FloatArray, tokens: IntArray) -> FloatArray:
    """Returns the probability of one token at each position, among all, float32 [N].

    Args:
        logits: float32 [N, V].
        tokens: int64 [N] ids.
    """
    best = logits.max(axis=1, keepdims=True)
    sums = np.exp(logits - best).sum(axis=1)
    chosen = np.take_along_axis(logits - best, tokens[:, None], axis=1)[:, 0]
    found: FloatArray = np.exp(chosen) / sums
    return found
