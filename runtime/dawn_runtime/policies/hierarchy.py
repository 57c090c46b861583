"""Hierarchy: the best of every gap, so that gaps are halved again and again (dInfer).

Undecided positions without a known one between them are a gap. A step commits every candidate above
`threshold`, in each gap the best candidate if it is above `low_threshold`, and the best of all in
any case. A token in the middle of a gap splits it, so what is committed side by side is far apart.
The rule is the `hierarchy` decoder of dInfer (inclusionAI/dInfer, arXiv 2510.08666).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.option_fields import option
from dawn_runtime.policies.base import POLICIES, Policy, RowView


@POLICIES.register
@dataclass(frozen=True, slots=True)
class Hierarchy(Policy):
    """Commits what is confident, and the best of every gap.

    The defaults are those of the published code, for LLaDA and LLaDA-MoE in blocks of 32; none were
    published for Dream.

    Attributes:
        threshold: A candidate above this confidence is committed; 1 leaves that part out.
        low_threshold: The best candidate of a gap is committed above this; from `threshold` on it
            changes nothing. Equal ones of a gap go together.

    Raises:
        OptionError: An option is out of range.
    """

    name: ClassVar[str] = "hierarchy"

    threshold: float = option(0.9, 0, 1, "a candidate above this confidence is committed")
    low_threshold: float = option(0.4, 0, 1, "the best of a gap is committed above this")

    def select(self, view: RowView) -> IntArray:
        """Chooses the confident candidates, the best of each gap and the best of all."""
        positions: IntArray = view.candidates
        confidence = view.confidence[positions]
        starts = np.flatnonzero(np.concatenate([[True], np.diff(positions) > 1]))
        sizes = np.diff(np.concatenate([starts, [len(positions)]]))
        best = np.repeat(np.maximum.reduceat(confidence, starts), sizes)
        chosen = (confidence == best) & (confidence > self.low_threshold)
        chosen |= confidence > self.threshold
        chosen[int(np.argmax(confidence))] = True
        committed: IntArray = positions[chosen]
        return committed
