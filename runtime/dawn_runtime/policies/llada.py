"""LLaDA's own sampler: the best of a block, as many as an even schedule says (arXiv 2502.09992).

With n positions of the block to decide and S steps for it, step s = 0, 1, ... commits

    k_s = floor(n / S), one more in the first n mod S steps

of the undecided ones, by confidence (`low_confidence`: the others are "remasked") or at random.
`schedule` `rounded` is that of Tiny-A2D, which runs on time like Dream's but rounds to the nearest:
step s commits round(m (1 - (1 - a_s) / (1 - a_(s-1)))) of the m undecided ones, a_s being the part
of the steps that is over after it; all that are left once the steps are. It is reckoned in float32,
as there: some counts near one half depend on it. Every block has the same number of steps there,
whatever its length: `block_steps`.

The published function runs the model also for steps with k_s = 0, of which there are S - n if there
are more steps than positions; nothing changes in them, and there are none here.

Its flag `confidence_eos_eot_inf` is here the options `eos` and `eot`, the ids of two tokens: the
confidence is that among all other tokens, and 0 where one of the two is predicted, so that these
positions come last. That needs logits. `logits_eos_inf`, which never predicts an end token, is the
setting `forbid` of any decoding, its `cfg_scale` the setting `guidance`.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from dawn_runtime.arrays import FloatArray, IntArray, inverse, read_only
from dawn_runtime.errors import OptionError
from dawn_runtime.option_fields import option
from dawn_runtime.policies.base import POLICIES, Needs, Policy, RowView
from dawn_runtime.policies.order import (
    LARGEST_SEED,
    MOST_STEPS,
    draws,
    due,
    due_of,
    first,
    positions_of,
    scores,
)

_RANDOM: Final = "random"


@POLICIES.register
@dataclass(frozen=True, slots=True)
class Llada(Policy):
    """Commits a fixed number of candidates in a step, by confidence or at random.

    The defaults are those of the published function, for 128 new tokens in a single block. Usual
    for comparisons: 256 steps for 256 new tokens in blocks of 32, one token a step.

    Attributes:
        steps: Of the whole answer; a block has the part of them that it has of the positions.
        remasking: `low_confidence` commits the most confident candidates, `random` any.
        seed: Of the random order, from 0 to 2^64 - 1.
        eos: An end token that waits for all others, 126081 in LLaDA's code; None has it wait no
            more than others.
        eot: Another, 126348 there.
        schedule: `even`, or `rounded` as in Tiny-A2D.
        block_steps: Of each block, whatever its length; 0 leaves that to `steps`.

    Raises:
        OptionError: An option is out of range.
    """

    name: ClassVar[str] = "llada"

    steps: int = option(128, 1, MOST_STEPS, "steps of the whole answer")
    remasking: str = option(
        "low_confidence", help="what is left for later", choices=("low_confidence", _RANDOM)
    )
    seed: int = option(0, 0, None, "of the random order", ceiling=LARGEST_SEED)
    eos: int | None = option(None, 0, None, "id of an end token that comes last", kind=int)
    eot: int | None = option(None, 0, None, "id of another", kind=int)
    schedule: str = option("even", help="how many in each step", choices=("even", "rounded"))
    block_steps: int = option(0, 0, MOST_STEPS, "steps of each block instead of a part; 0 is none")

    @property
    def needs(self) -> Needs:
        """Logits if end tokens come last."""
        return Needs(logits=bool(self._last()) and self.remasking != _RANDOM)

    def select(self, view: RowView) -> IntArray:
        """Chooses as many candidates as are due."""
        if self.remasking == _RANDOM:
            keys = self.draws(view.step, view.candidates)
        elif self._last():
            keys = _without(view, self._last())
        else:
            keys = scores(view, "confidence")
        schedule = _SCHEDULES[self.schedule]
        if not self.block_steps:
            return first(view, keys, due(view, self.steps, schedule))
        return first(view, keys, due_of(view, schedule(positions_of(view), self.block_steps)))

    def _last(self) -> list[int]:
        return [token for token in (self.eos, self.eot) if token is not None]

    def draws(self, step: int, positions: IntArray) -> NDArray[np.floating]:
        """Returns the numbers of `random`, [n]; the greatest are committed.

        Args:
            step: Steps that the row has taken.
            positions: int64 [n] candidates.
        """
        return draws(self.seed, step, positions)


@lru_cache(maxsize=256)
def evenly(positions: int, steps: int) -> IntArray:
    """Returns how many are decided after each step; int64 [steps].

    Args:
        positions: To decide.
        steps: In which.
    """
    base, more = divmod(positions, steps)
    after = base * np.arange(1, steps + 1) + np.minimum(np.arange(1, steps + 1), more)
    return read_only(after)


@lru_cache(maxsize=256)
def rounded(positions: int, steps: int) -> IntArray:
    """Returns how many are decided after each step; int64 [steps].

    Args:
        positions: To decide.
        steps: In which.
    """
    one, count = np.float32(1), np.float32(steps)
    left, after = positions, np.empty(steps, dtype=np.int64)
    for step in range(steps):
        # 1 - a, the part that is masked, from a = 1 - t: both differences are rounded there.
        before = one - (one - np.float32(steps - step) / count)
        masked = one - (one - np.float32(steps - step - 1) / count)
        share = np.float64(one - masked / before)
        left -= min(int(np.rint(np.float64(left) * share)), left)
        after[step] = positions - left
    after[-1] = positions
    return read_only(after)


_SCHEDULES: Final = {"even": evenly, "rounded": rounded}


def _without(view: RowView, tokens: list[int]) -> FloatArray:
    """Confidence of the candidates among all but some tokens, 0 where one of them is predicted."""
    if view.logits is None:
        raise OptionError("policy 'llada' reads logits for eos and eot; use an engine with logits")
    if max(tokens) >= view.logits.shape[1]:
        raise OptionError(
            f"policy 'llada': eos or eot is {max(tokens)}; expected ids of the vocabulary, 0 to "
            f"{view.logits.shape[1] - 1}"
        )
    logits = view.logits[inverse(view.predicted, len(view.masked))[view.candidates]]
    logits[:, tokens] = -np.inf
    below = logits - logits.max(axis=1, keepdims=True)
    predicted = view.tokens[view.candidates]
    best = np.take_along_axis(below, np.maximum(predicted, 0)[:, None], axis=1)[:, 0]
    shares: FloatArray = np.exp(best) / np.exp(below).sum(axis=1)
    return shares
