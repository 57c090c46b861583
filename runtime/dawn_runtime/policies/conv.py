"""Conv: what stands among known tokens goes first (Convolutional decoding, arXiv 2509.15188).

One window over the whole answer needs no blocks if positions far from anything known wait by
themselves. With n_i the known tokens, prompt included, in a stretch of `width` around position i,

    score_i = p_i tanh(strength n_i)

and each step commits the best scores, as many as it takes to be done in `steps` steps: the
undecided positions divided by the steps left, rounded up. This is the published rule for LLaDA; its
older form, which draws tokens and positions, is the scheme `conv-drawn`.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import BoolArray, IntArray
from dawn_runtime.option_fields import option
from dawn_runtime.policies.base import POLICIES, Policy, RowView

_STRONGEST = 1e6


@POLICIES.register
@dataclass(frozen=True, slots=True)
class Conv(Policy):
    """Commits the best candidates by confidence and known neighbours, so many a step.

    Published for LLaDA-8B, width, answer and steps: AlpacaEval 512, 1024 and 128, GSM8K 128, 512
    and 64.

    Attributes:
        width: Of what counts as around a position, itself in the middle; an even one is
            one more.
        strength: How fast known tokens count; with 1 three of them are as good as any number.
        steps: Steps of the answer; 0 is one for each position.

    Raises:
        OptionError: An option is out of range.
    """

    name: ClassVar[str] = "conv"
    usual_window: ClassVar[str] = "single"

    width: int = option(128, 1, None, "width of what counts as around a position")
    strength: float = option(1.0, 0, _STRONGEST, "how fast known tokens around it count")
    steps: int = option(0, 0, None, "steps of the answer; 0 is one for each position")

    def select(self, view: RowView) -> IntArray:
        """Chooses the best scores, as many as this step's share."""
        count = self._share(int(np.count_nonzero(view.masked)), view.step)
        order = np.argsort(-self.scores(view), kind="stable")
        return view.candidates[order[:count]]

    def scores(self, view: RowView) -> np.ndarray:
        """Returns the scores of the candidates, float64 [n]."""
        around = known_around(view.masked, view.candidates, self.width)
        scores: np.ndarray = view.confidence[view.candidates] * np.tanh(self.strength * around)
        return scores

    def _share(self, undecided: int, step: int) -> int:
        """How many positions this step commits, at least one."""
        left = self.steps - step
        return -(-undecided // left) if left > 0 else undecided if self.steps else 1


def known_around(masked: BoolArray, positions: IntArray, width: int) -> IntArray:
    """Returns how many known tokens stand around positions, int64 [n].

    Args:
        masked: bool [L].
        positions: int64 [n].
        width: Of the stretch with a position in its middle; an even one is one more.
    """
    reach = width // 2
    known = np.concatenate([[0], np.cumsum(~masked)])
    end = np.minimum(positions + reach + 1, len(masked))
    around: IntArray = known[end] - known[np.maximum(positions - reach, 0)]
    return around
