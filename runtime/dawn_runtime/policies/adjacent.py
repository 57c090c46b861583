"""Adjacent: a threshold, but never two neighbours in one step.

What stands next to each other often depends on each other, so of two neighbours the less confident
one waits until it can see the other. The rule of the demonstration of LFM2.5-Encoder-Diffusion
(Liquid AI, 2026), without its quota for each step.
"""

from dataclasses import dataclass
from typing import ClassVar

from dawn_runtime.arrays import IntArray
from dawn_runtime.option_fields import option
from dawn_runtime.policies.base import POLICIES, Policy, RowView
from dawn_runtime.policies.guards import Apart
from dawn_runtime.policies.threshold import Threshold

_GUARD = Apart()


@POLICIES.register
@dataclass(frozen=True, slots=True)
class Adjacent(Policy):
    """Commits what reaches a threshold, of neighbours the more confident; the guard of that name.

    Attributes:
        threshold: Least confidence, from 0 to 1.

    Raises:
        OptionError: The threshold is out of range.
    """

    name: ClassVar[str] = "adjacent"

    threshold: float = option(0.9, 0, 1, "least confidence")

    def select(self, view: RowView) -> IntArray:
        """Chooses confident candidates that are no neighbours, or the most confident one."""
        return _GUARD.allowed(view, Threshold(self.threshold).select(view))
