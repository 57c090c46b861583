"""Dream's own sampler: time runs from 1 to almost 0, and tokens appear with it (arXiv 2508.15487).

With the times t_0 = 1, ..., t_S = `eps` at equal distances, step s = 0, 1, ... commits

    floor(m (1 - t_(s+1) / t_s)) of the m undecided positions, all of them in the last step

in the order of `alg`: the confidence (`maskgit_plus`), the distance of the two best probabilities
(`topk_margin`) or the negative entropy (`entropy`). With `origin` each undecided position is
committed with probability 1 - t_(s+1) / t_s instead, whatever is predicted there.

Rounding down leaves early steps short, even empty, and the last one long: 16 steps for 64
positions commit 3, 4 (fourteen times) and 5, and 64 steps none in the first and two in the last.
The published function runs the model for empty steps too; nothing changes in them, and there are
none here. It also applies a temperature to what it ranks by; here the rank is by the model's own
distribution. Its random perturbation of the order (`alg_temp`) is left out.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from dawn_runtime.arrays import IntArray, read_only
from dawn_runtime.option_fields import option
from dawn_runtime.policies.base import POLICIES, Needs, Policy, RowView
from dawn_runtime.policies.order import (
    LARGEST_SEED,
    MOST_STEPS,
    draws,
    due,
    first,
    needs_of,
    scores,
    share,
)

_ORIGIN: Final = "origin"
_ORDERS: Final = {"maskgit_plus": "confidence", "topk_margin": "margin", "entropy": "entropy"}


@POLICIES.register
@dataclass(frozen=True, slots=True)
class Dream(Policy):
    """Commits what the schedule of Dream says, in the order of one of its algorithms.

    Made for one window over the whole answer. Published for Dream-7B: `entropy` with as many steps
    as new tokens, 512 in its examples, `eps` 0.001; `origin` is the default of its code.

    Attributes:
        alg: `entropy`, `maskgit_plus`, `topk_margin` or `origin`; see the module.
        steps: Of the whole answer; a block has the part of them that it has of the positions.
        eps: The last time, above 0.
        seed: Of `origin`, from 0 to 2^64 - 1.

    Raises:
        OptionError: An option is out of range.
    """

    name: ClassVar[str] = "dream"

    alg: str = option("entropy", help="which come first", choices=(*_ORDERS, _ORIGIN))
    steps: int = option(512, 1, MOST_STEPS, "steps of the whole answer")
    eps: float = option(1e-3, 1e-6, 0.5, "the last time of the schedule")
    seed: int = option(0, 0, None, "of origin", ceiling=LARGEST_SEED)

    @property
    def needs(self) -> Needs:
        """What the order reads."""
        return needs_of(_ORDERS.get(self.alg, ""))

    def select(self, view: RowView) -> IntArray:
        """Chooses as many candidates as are due, or those whose time has come."""
        if self.alg == _ORIGIN:
            turns = self._turns(share(view, self.steps)[1], view.candidates)
            chosen: IntArray = view.candidates[turns == turns.min()]
            return chosen
        count = due(view, self.steps, self._schedule)
        return first(view, scores(view, _ORDERS[self.alg]), count)

    def draws(self, positions: IntArray) -> NDArray[np.float64]:
        """Returns the numbers from [0, 1) of `origin`: the times at which positions appear, [n].

        Args:
            positions: int64 [n] candidates.
        """
        return draws(self.seed, 0, positions)

    def _turns(self, steps: int, positions: IntArray) -> IntArray:
        """Tells in which step of the window `origin` commits each position; int64 [n].

        A position is undecided after step s with probability t_(s+1), the product of t_(k+1) / t_k
        up to there. So one number u is drawn for it: its turn is the first step that ends at a time
        t <= u, the last step if none does.
        """
        ends = times(steps, self.eps)[1:-1].astype(np.float64)
        turns: IntArray = np.searchsorted(-ends, -self.draws(positions), side="left")
        return turns

    def _schedule(self, positions: int, steps: int) -> IntArray:
        return with_time(positions, steps, self.eps)


@lru_cache(maxsize=256)
def times(steps: int, eps: float) -> NDArray[np.float32]:
    """Returns t_0 to t_steps; float32 [steps + 1], in which the published function reckons.

    Args:
        steps: S.
        eps: The last time.
    """
    one, last = np.float32(1), np.float32(eps)
    step = (last - one) / np.float32(steps)
    numbers = np.arange(steps + 1)
    # From both ends, as torch.linspace does: the counts depend on the last bit.
    ahead = one + step * numbers.astype(np.float32)
    behind = last - step * (steps - numbers).astype(np.float32)
    found: NDArray[np.float32] = np.where(numbers < (steps + 1) // 2, ahead, behind)
    return read_only(found)


@lru_cache(maxsize=256)
def with_time(positions: int, steps: int, eps: float) -> IntArray:
    """Returns how many are decided after each step; int64 [steps].

    Args:
        positions: To decide.
        steps: In which.
        eps: The last time.
    """
    moments, left, after = times(steps, eps), positions, np.empty(steps, dtype=np.int64)
    shares = 1 - moments[1:] / moments[:-1]
    for step, part in enumerate(shares[:-1]):
        left -= int(np.float32(left) * part)
        after[step] = positions - left
    after[-1] = positions
    return read_only(after)
