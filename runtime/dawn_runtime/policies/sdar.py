"""SDAR: a threshold with a quota, as published for block-causal models (SDAR, LLaDA2.0).

In each step of a block at least `at_least` tokens are decided. `dynamic`: all that are surer than
the threshold, if these are so many, otherwise the surest `at_least`. `static`: always these.
`sequential`: the leftmost `at_least`. The threshold is strict: at 1 nothing exceeds it, and each
step decides the quota. (JetAstra/SDAR, `block_diffusion_generate`: at_least is block length by
denoising steps. LLaDA2.0: the same with blocks of 32, a threshold of 0.95 and a quota of 1;
Fast-dLLM v2: 0.9 and 1 in sub-blocks of 8.)
"""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.option_fields import option
from dawn_runtime.policies.base import POLICIES, Policy, RowView
from dawn_runtime.policies.kernel import Kernel
from dawn_runtime.policies.order import first

_DYNAMIC: Final = "dynamic"


@POLICIES.register
@dataclass(frozen=True, slots=True)
class Sdar(Policy):
    """Commits what is surer than a threshold, or a quota.

    Attributes:
        threshold: Exceeded by what is committed together, 0 to 1.
        at_least: Tokens of a step, as long as so many are open.
        strategy: `dynamic`, `static` or `sequential`.

    Raises:
        OptionError: An option is out of range.
    """

    name: ClassVar[str] = "sdar"

    threshold: float = option(0.9, 0, 1, "confidence that is exceeded")
    at_least: int = option(1, 1, None, "tokens of a step")
    strategy: str = option(
        _DYNAMIC, help="what is decided", choices=(_DYNAMIC, "static", "sequential")
    )

    def select(self, view: RowView) -> IntArray:
        """Chooses what exceeds the threshold, the surest or the leftmost candidates."""
        if self.strategy == "sequential":
            return view.candidates[: self.at_least]
        confidence = view.confidence[view.candidates]
        if self.strategy == _DYNAMIC:
            sure: IntArray = view.candidates[confidence > np.float32(self.threshold)]
            if len(sure) >= self.at_least:
                return sure
        return first(view, confidence, self.at_least)

    def kernel(self, keys: int) -> Kernel | None:
        """Returns the rule as numbers where its quota is one token."""
        if self.strategy != _DYNAMIC or self.at_least > 1:
            return None
        above = np.nextafter(np.float32(self.threshold), np.float32(2))
        return Kernel(tau_high=float(above))
