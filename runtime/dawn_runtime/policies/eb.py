"""EB-Sampler: as many tokens as an entropy bound allows (arXiv 2505.24857).

With the entropies of the candidates in ascending order h_1 <= h_2 <= ..., the n-th is committed if

    h_1 + ... + h_(n-1) <= gamma

so the first always is. The entropies bound how much the tokens of a step can depend on each other.
"""

from dataclasses import dataclass
from typing import ClassVar

from dawn_runtime.arrays import IntArray
from dawn_runtime.option_fields import option
from dawn_runtime.policies.base import POLICIES, Needs, Policy, RowView
from dawn_runtime.policies.guards import LARGEST_BUDGET, EntropyBound


@POLICIES.register
@dataclass(frozen=True, slots=True)
class Eb(Policy):
    """Commits the candidates of least entropy under a bound; the guard `entropy-bound` on all.

    Made for one window over the whole answer. Published comparisons with LLaDA and Dream: gamma
    0.1.

    Attributes:
        gamma: The bound in nats, >= 0.

    Raises:
        OptionError: It is out of range.
    """

    name: ClassVar[str] = "eb"
    needs: ClassVar[Needs] = Needs(entropy=True)

    gamma: float = option(0.1, 0, LARGEST_BUDGET, "bound of the sum of entropies in nats")

    def select(self, view: RowView) -> IntArray:
        """Chooses the longest run by ascending entropy that passes."""
        return EntropyBound(self.gamma).allowed(view, view.candidates)
