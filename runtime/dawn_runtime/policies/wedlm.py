"""WeDLM: what is certain by its entropy, the further to the right the more so (Tencent/WeDLM).

    H'(i) = H(i) + penalty (i - first)

with H the entropy of the prediction at i in nats and `first` the first candidate. All candidates
with H' < tau are committed, or the one of the smallest H'.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.option_fields import option
from dawn_runtime.policies.base import POLICIES, Needs, Policy, RowView

_LARGEST = 1e6


@POLICIES.register
@dataclass(frozen=True, slots=True)
class Wedlm(Policy):
    """Commits what is certain enough for its distance.

    Attributes:
        tau: Entropy in nats that is not reached by what is committed together; 0 is one token a
            step.
        penalty: Nats added for each position to the right of the first candidate.

    Raises:
        OptionError: An option is out of range.
    """

    name: ClassVar[str] = "wedlm"
    needs: ClassVar[Needs] = Needs(entropy=True)

    tau: float = option(0.4, 0, _LARGEST, "entropy that is not reached, in nats")
    penalty: float = option(0.02, 0, _LARGEST, "nats added a position to the right")

    def select(self, view: RowView) -> IntArray:
        """Chooses what stays below `tau`, or the candidate of the smallest sum."""
        here = view.candidates
        distance = (here - here[0]).astype(np.float32)
        sums = view.measured("entropy")[here] + np.float32(self.penalty) * distance
        below = sums < self.tau
        return here[below] if below.any() else here[[int(np.argmin(sums))]]
