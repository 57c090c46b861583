"""One token per forward pass: the reference that parallel policies are measured against."""

from dataclasses import dataclass
from typing import ClassVar

from dawn_runtime.arrays import IntArray
from dawn_runtime.policies.base import POLICIES, Policy, RowView


@POLICIES.register
@dataclass(frozen=True, slots=True)
class OnePerStep(Policy):
    """Commits the most confident candidate of the window, and nothing else."""

    name: ClassVar[str] = "one-per-step"

    def select(self, view: RowView) -> IntArray:
        """Chooses the candidate of highest confidence, the lowest position on ties."""
        return view.most_confident()
