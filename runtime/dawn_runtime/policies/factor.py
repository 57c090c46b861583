"""Factor: a threshold that rises with the number of tokens committed at once (arXiv 2505.22618).

With the confidences of the candidates in descending order c_1 >= c_2 >= ..., the longest run is
committed for which

    (n + 1) (1 - c_n) <= factor,    that is    c_n >= 1 - factor / (n + 1)

holds at every n >= 2; the first is always committed. The published code also commits the very last
candidate of a window whether it passes or not, once all others are committed with it. That saves a
run of the engine for a single token, and is kept.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.option_fields import option
from dawn_runtime.policies.base import POLICIES, Policy, RowView

_LARGEST_FACTOR = 1e6


@POLICIES.register
@dataclass(frozen=True, slots=True)
class Factor(Policy):
    """Commits as many of the most confident candidates as their joint risk allows.

    Attributes:
        factor: How much risk is accepted, >= 0; 0 demands certainty from all but the best.

    Raises:
        OptionError: The factor is out of range.
    """

    name: ClassVar[str] = "factor"

    factor: float = option(1.0, 0, _LARGEST_FACTOR, "how much risk is accepted")

    def select(self, view: RowView) -> IntArray:
        """Chooses the longest run of the most confident candidates that passes."""
        confidence = view.confidence[view.candidates]
        order = np.argsort(-confidence, kind="stable")
        floors = 1 - self.factor / np.arange(2, len(order) + 2)
        failing = confidence[order] < floors
        failing[0] = False
        # The last one is never left alone; see the module.
        failing[-1] = False
        count = int(failing.argmax()) if failing.any() else len(order)
        return view.candidates[order[:count]]
