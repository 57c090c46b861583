"""One token per forward pass: the reference that parallel policies are measured against."""

from dataclasses import dataclass
from typing import ClassVar

from dawn_runtime.arrays import IntArray
from dawn_runtime.option_fields import option
from dawn_runtime.policies.base import POLICIES, Needs, Policy, RowView
from dawn_runtime.policies.explanation import Explanation, reasons_of
from dawn_runtime.policies.order import LARGEST_SEED, ORDERS, draws, first, needs_of, scores


@POLICIES.register
@dataclass(frozen=True, slots=True)
class OnePerStep(Policy):
    """Commits the first candidate of the window in some order, and nothing else.

    The published baselines of one token per step: LLaDA by confidence in blocks of 32, Dream by
    entropy in a single window. `llada` and `dream` have their schedules too.

    Attributes:
        by: `confidence`, `margin` (p1 - p2), `entropy` (least first) or `random`.
        seed: Of the random order, from 0 to 2^64 - 1.

    Raises:
        OptionError: An option is out of range.
    """

    name: ClassVar[str] = "one-per-step"

    by: str = option("confidence", help="which candidate comes first", choices=ORDERS)
    seed: int = option(0, 0, None, "of the random order", ceiling=LARGEST_SEED)

    @property
    def needs(self) -> Needs:
        """What the order reads."""
        return needs_of(self.by)

    def select(self, view: RowView) -> IntArray:
        """Chooses the candidate that comes first, the lowest position on ties."""
        if self.by == "confidence":
            return view.most_confident()
        if self.by == "random":
            return first(view, draws(self.seed, view.step, view.candidates), 1)
        return first(view, scores(view, self.by), 1)

    def explain(self, view: RowView) -> Explanation:
        """Tells that it is the first in its order."""
        return Explanation(reasons_of(best=self.select(view)))
