"""DAPD: an independent set under a conflict threshold that loosens (arXiv 2603.12996, ICML 2026).

With A the attention evidence, p the confidence and Q the candidates, all sums and maxima over Q:

    s_ij = (A_ij + A_ji) / 2, s_ii = 0         how much i and j depend on each other
    n_ij = s_ij / max_k s_ik                   the same, relative to the strongest partner of i
    d_i  = sum_k s_ik                          how much i depends on anything
    tau  = tau_min + (tau_max - tau_min) r     r being the decided part of all positions to decide

Candidates are visited by descending d_i p_i, and i is committed unless n_ik > tau for a k that was
committed before it. n is not symmetric, so the order matters. The strongest partner of i has
n_ik = 1 whatever tau is, so the two never go together when i is visited later.

`variant` says what is committed besides. `direct`: first, every candidate that is certain; the
others do not heed them. `staged`: from r = `stage` on, every candidate with p_i >= tau_high as
well.

The published code reads the attention of the last 30 % of layers, of 10 of the 32 layers of LLaDA
and 9 of the 28 of Dream. Which layers the evidence of an artifact averages is decided when it is
exported; with fewer of them the thresholds below are not the published setting.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import FloatArray, IntArray, inverse
from dawn_runtime.option_fields import option
from dawn_runtime.policies import graph
from dawn_runtime.policies.base import POLICIES, Needs, Policy, RowView
from dawn_runtime.policies.explanation import Explanation, edges_of, reasons_of
from dawn_runtime.policies.threshold import Threshold

_SMALLEST_PARTNER = 1e-8


@POLICIES.register
@dataclass(frozen=True, slots=True)
class Dapd(Policy):
    """Dependency-aware selection by degree; the defaults are those of the published functions.

    Published for LLaDA-8B-Instruct, variant, tau_min and tau_max: GSM8K direct 0.005 and 0.05,
    HumanEval direct 0.01 and 0.05, MBPP staged 0.01 and 0.15, Math500 staged 0.01 and 0.05.

    Attributes:
        variant: `staged` or `direct`; see the module.
        tau_min: Greatest relative dependency between positions committed in the first step.
        tau_max: What it grows to when all is decided, at least `tau_min`.
        tau_certain: Confidence that counts as 1 for `direct`. The published code asks for exactly
            1 in bfloat16, to which everything above 1 - 2^-9 is rounded.
        tau_high: Confidence that is enough in the second stage of `staged`.
        stage: Decided part at which the second stage begins.

    Raises:
        OptionError: An option is out of range.
    """

    name: ClassVar[str] = "dapd"
    needs: ClassVar[Needs] = Needs(evidence="candidates")

    variant: str = option(
        "staged", help="how certain candidates are added", choices=("staged", "direct")
    )
    tau_min: float = option(0.01, 0, 1, "greatest dependency in the first step")
    tau_max: float = option(0.15, "tau_min", 1, "what it grows to when all is decided")
    tau_certain: float = option(0.998, 0, 1, "confidence that counts as 1 for direct")
    tau_high: float = option(0.90, 0, 1, "confidence enough in the second stage of staged")
    stage: float = option(0.5, 0, 1, "decided part at which the second stage begins")

    def short_form(self) -> Policy:
        """Returns the threshold rule at `tau_high`: what is left of DAPD without its graph."""
        return Threshold(self.tau_high)

    def select(self, view: RowView) -> IntArray:
        """Chooses an independent set and what the variant adds to it; never nothing."""
        confidence = view.confidence[view.candidates]
        scores = _mutual(view)
        chosen = (confidence >= self.tau_certain) & (self.variant == "direct")
        rest = np.flatnonzero(~chosen)
        among = (_relative(scores) > self._bound(view)).T[np.ix_(rest, rest)]
        weights = (scores.sum(axis=1) * confidence)[rest]
        chosen[rest[graph.independent_set(among, weights)]] = True
        if self.variant == "staged" and self._progress(view) >= self.stage:
            chosen |= confidence >= self.tau_high
        return view.candidates[chosen]

    def explain(self, view: RowView) -> Explanation:
        """Tells what is certain by itself, and of the rest that nothing it depends on goes too."""
        chosen, relative = self.select(view), _relative(_mutual(view))
        edges = edges_of(view.candidates, relative > self._bound(view), relative)
        certain = self.tau_certain if self.variant == "direct" else self.tau_high
        later = self.variant == "staged" and self._progress(view) < self.stage
        sure = chosen[(view.confidence[chosen] >= certain) & (not later)]
        return Explanation(reasons_of(sure=sure, free=chosen), edges=edges)

    def _bound(self, view: RowView) -> float:
        """Greatest relative dependency between positions committed in this step."""
        return self.tau_min + (self.tau_max - self.tau_min) * self._progress(view)

    def _progress(self, view: RowView) -> float:
        """Decided part of all positions to decide."""
        return view.decided / (view.decided + int(view.masked.sum()))


def _mutual(view: RowView) -> FloatArray:
    """Mean attention of the candidates to each other in both directions, [n, n]."""
    length = len(view.masked)
    rows = inverse(view.attention_rows, length)[view.candidates]
    columns = inverse(view.attention_keys, length)[view.candidates]
    attention = view.attention[np.ix_(rows, columns)]
    scores: FloatArray = (attention + attention.T) / 2
    np.fill_diagonal(scores, 0)
    return scores


def _relative(scores: FloatArray) -> FloatArray:
    """[n, n], at [i, k] how much i depends on k, relative to its strongest partner.

    Above the bound i, visited after k was chosen, must wait.
    """
    relative: FloatArray = scores / np.maximum(scores.max(axis=1, keepdims=True), _SMALLEST_PARTNER)
    return relative
