"""LLaDA's own sampler: the best of a block, as many as an even schedule says (arXiv 2502.09992).

With n positions of the block to decide and S steps for it, step s = 0, 1, ... commits

    k_s = floor(n / S), one more in the first n mod S steps

of the undecided ones, by confidence (`low_confidence`: the others are "remasked") or at random.
The published function runs the model also for steps with k_s = 0, of which there are S - n if there
are more steps than positions; nothing changes in them, and there are none here.

Its classifier-free guidance, which runs the model twice, is left out.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import IntArray, read_only
from dawn_runtime.option_fields import option
from dawn_runtime.policies.base import POLICIES, Policy, RowView
from dawn_runtime.policies.order import LARGEST_SEED, MOST_STEPS, draws, due, first, scores


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

    Raises:
        OptionError: An option is out of range.
    """

    name: ClassVar[str] = "llada"

    steps: int = option(128, 1, MOST_STEPS, "steps of the whole answer")
    remasking: str = option(
        "low_confidence", help="what is left for later", choices=("low_confidence", "random")
    )
    seed: int = option(0, 0, None, "of the random order", ceiling=LARGEST_SEED)

    def select(self, view: RowView) -> IntArray:
        """Chooses as many candidates as are due."""
        random = self.remasking == "random"
        keys = self.draws(view.step, view.candidates) if random else scores(view, "confidence")
        return first(view, keys, due(view, self.steps, evenly))

    def draws(self, step: int, positions: IntArray) -> np.ndarray:
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
