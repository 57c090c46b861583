"""Confidence threshold (Fast-dLLM, arXiv 2505.22618)."""

from dataclasses import dataclass
from typing import ClassVar

from dawn_runtime.arrays import IntArray
from dawn_runtime.option_fields import option
from dawn_runtime.policies.base import POLICIES, Policy, RowView
from dawn_runtime.policies.explanation import Explanation, reasons_of
from dawn_runtime.policies.kernel import Kernel


@POLICIES.register
@dataclass(frozen=True, slots=True)
class Threshold(Policy):
    """Commits every candidate whose confidence reaches a threshold, at least the best one.

    Attributes:
        threshold: Least confidence, from 0 to 1.

    Raises:
        OptionError: The threshold is out of range.
    """

    name: ClassVar[str] = "threshold"

    threshold: float = option(0.9, 0, 1, "least confidence")

    def select(self, view: RowView) -> IntArray:
        """Chooses candidates with confidence >= threshold, or the most confident one."""
        sure = view.confidence[view.candidates] >= self.threshold
        return view.candidates[sure] if sure.any() else view.most_confident()

    def explain(self, view: RowView) -> Explanation:
        """Tells what reaches the threshold; else it is the most confident one."""
        sure = view.confidence[view.candidates] >= self.threshold
        if not sure.any():
            return Explanation(reasons_of(best=view.most_confident()))
        return Explanation(reasons_of(sure=view.candidates[sure]))

    def kernel(self, keys: int) -> Kernel:
        """Returns the rule as numbers."""
        return Kernel(tau_high=self.threshold)
