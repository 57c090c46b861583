"""LocalLeap: a lower threshold near what is certain (arXiv 2510.07081)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import BoolArray, IntArray
from dawn_runtime.option_fields import option
from dawn_runtime.policies.base import POLICIES, Policy, RowView
from dawn_runtime.policies.explanation import Explanation, reasons_of


@POLICIES.register
@dataclass(frozen=True, slots=True)
class LocalLeap(Policy):
    """Commits confident candidates, and less confident ones in their neighbourhood.

    Candidates that reach `threshold` before the step are its anchors; already decided positions
    are none. The defaults are those published for LLaDA; for Dream `relaxed_threshold` is 0.80.

    Attributes:
        threshold: Least confidence of an anchor.
        relaxed_threshold: Least confidence of a candidate near an anchor, at most `threshold`.
        radius: Largest distance to the anchor in positions, >= 0.

    Raises:
        OptionError: An option is out of range.
    """

    name: ClassVar[str] = "local-leap"

    threshold: float = option(0.90, 0, 1, "least confidence of an anchor")
    relaxed_threshold: float = option(0.75, 0, "threshold", "least confidence near an anchor")
    radius: int = option(4, 0, None, "largest distance to the anchor in positions")

    def select(self, view: RowView) -> IntArray:
        """Chooses anchors and what is confident enough near them, or the most confident one."""
        confidence = view.confidence[view.candidates]
        anchors = confidence >= self.threshold
        if not anchors.any():
            return view.most_confident()
        near = self._near(view.candidates, view.candidates[anchors])
        return view.candidates[anchors | (near & (confidence >= self.relaxed_threshold))]

    def explain(self, view: RowView) -> Explanation:
        """Tells anchors, and near which of them the others are; else it is the most confident."""
        confidence = view.confidence[view.candidates]
        anchors = view.candidates[confidence >= self.threshold]
        if not anchors.size:
            return Explanation(reasons_of(best=view.most_confident()))
        chosen = self.select(view)
        nearest = anchors[np.abs(chosen[:, None] - anchors).argmin(axis=1)]
        near = {p: a for p, a in zip(chosen.tolist(), nearest.tolist(), strict=True) if p != a}
        return Explanation(reasons_of(sure=anchors, induced=chosen), near)

    def _near(self, positions: IntArray, anchors: IntArray) -> BoolArray:
        """Tells which of the ascending positions lie within the radius of an ascending anchor."""
        first = np.searchsorted(anchors, positions - self.radius)
        after = np.searchsorted(anchors, positions + self.radius, side="right")
        near: BoolArray = first < after
        return near
