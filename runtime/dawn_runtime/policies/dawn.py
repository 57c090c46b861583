"""DAWN: commit together what does not depend on each other (arXiv 2602.06953, 2026).

With A the attention evidence, p the confidence and M' the candidates (masked positions of the
window), one step commits three sets:

    sure      { i in M' : p_i >= tau_high }
    induced   { i in M' : p_i >= tau_induce and i depends on an anchor }, an anchor being a known
              position before the window's end, prompt included, that the model itself still
              predicts with p >= tau_anchor
    free      a maximal independent set, by descending p, of the remaining candidates with
              p_i >= tau_low that do not depend on a settled position; two of them conflict
              when either depends on the other

i depends on j when A[i, j] >= tau_edge, j is not a sink (mean of column j over all rows above
tau_sink) and i != j. If all three sets are empty the most confident candidate is committed.

With a cache the rows of some positions are not computed. The means of the columns are then those of
the last full pass, and p at a known position is the one of the last step that predicted it.

A row of A sums to 1 over the K keys that it looks at, so a threshold of attention means less the
more of them there are: evenly spread, each gets 1 / K. With a `reference_length` R both thresholds,
tau_edge and tau_sink, are multiplied by (R / K) ^ `length_exponent`. K counts every position that
the row looks at in this step, through keys just computed or kept ones: the whole row, prompt and
undecided positions included, less what a window hides. Padding is not among them, and neither is
another row of the batch. It is the K of this step too where the means of the columns are older. The
published rule has no such scaling.

`adjacency` says which positions are settled. `both`: those that are sure and induced at once, as
the published code has it. `union`: those that are sure or induced, the stricter reading of the
paper. Two defects of the published code are left out: position 0 entering the independent set once
candidates run out, and the conflict stage being skipped for a whole batch.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import BoolArray, IntArray, inverse
from dawn_runtime.option_fields import option
from dawn_runtime.policies import graph
from dawn_runtime.policies.base import POLICIES, Needs, Policy, RowView
from dawn_runtime.policies.kernel import Kernel
from dawn_runtime.policies.threshold import Threshold
from dawn_runtime.wording import counted

_SMALLEST_EDGE = 1e-9
_LONGEST = 2**31 - 1
"""Lengths are int32 in the kernels; thresholds of that scale are finite in float32."""


@POLICIES.register
@dataclass(frozen=True, slots=True)
class Dawn(Policy):
    """Dependency-aware selection; the defaults are those published for LLaDA-8B-Instruct.

    Attributes:
        tau_sink: A key with mean attention above this is a sink.
        tau_edge: Least attention that makes a dependency, > 0.
        tau_induce: Least confidence of a candidate that depends on an anchor.
        tau_low: Least confidence of a candidate of the independent set.
        tau_high: Confidence at which a candidate is committed whatever it depends on.
        tau_anchor: Confidence at which a known position is an anchor.
        adjacency: `both` (as published) or `union`; see the module.
        reference_length: Tokens of the sequences, prompt and answer together, that `tau_sink` and
            `tau_edge` were chosen for; 0 (as published) is no scaling.
        length_exponent: How both follow the length, 0 to 1: 0 not at all, 1 as the attention that
            an evenly spread row gives a key.

    Raises:
        OptionError: An option is out of range.
    """

    name: ClassVar[str] = "dawn"
    needs: ClassVar[Needs] = Needs(known_predictions=True, evidence="all")

    tau_sink: float = option(0.01, 0, 1, "a key with mean attention above this is a sink")
    tau_edge: float = option(0.07, _SMALLEST_EDGE, 1, "least attention that makes a dependency")
    tau_induce: float = option(0.70, 0, 1, "least confidence of what depends on an anchor")
    tau_low: float = option(0.75, 0, 1, "least confidence in the independent set")
    tau_high: float = option(0.90, 0, 1, "confidence that is enough by itself")
    tau_anchor: float = option(0.90, 0, 1, "confidence at which a known position is an anchor")
    adjacency: str = option("both", help="which positions are settled", choices=("both", "union"))
    reference_length: int = option(
        0, 0, _LONGEST, "tokens that tau_sink and tau_edge were chosen for; 0 is no scaling"
    )
    length_exponent: float = option(0.0, 0, 1, "how both follow the length")

    def short_form(self) -> Policy:
        """Returns the threshold rule at `tau_high`: what is left of DAWN without its graph."""
        return Threshold(self.tau_high)

    def kernel(self, keys: int) -> Kernel:
        """Returns the rule as numbers, those of attention scaled to the length."""
        tau_sink, tau_edge = self.attention_thresholds(keys)
        return Kernel(
            tau_high=self.tau_high,
            graph=True,
            union=self.adjacency == "union",
            tau_sink=tau_sink,
            tau_edge=tau_edge,
            tau_induce=self.tau_induce,
            tau_low=self.tau_low,
            tau_anchor=self.tau_anchor,
        )

    def doubt(self, keys: int) -> str | None:
        """Tells whether an evenly spread row makes every key a sink, which leaves no graph."""
        tau_sink, _ = self.attention_thresholds(keys)
        if tau_sink * keys > 1:
            return None
        return (
            f"a row of {keys} keys gives each {1 / keys:.3g} if it is even, and from tau_sink "
            f"{tau_sink:.3g} on a key is a sink: the graph has hardly an edge, and what decides is "
            f"tau_low {self.tau_low:g}"
        )

    def attention_thresholds(self, keys: int) -> tuple[float, float]:
        """Returns `tau_sink` and `tau_edge` scaled to a length; the latter stays above 0.

        Args:
            keys: Number of keys K that a row looks at, >= 1.
        """
        if not self.reference_length:
            return self.tau_sink, self.tau_edge
        scale = (self.reference_length / keys) ** self.length_exponent
        return self.tau_sink * scale, max(self.tau_edge * scale, _SMALLEST_EDGE)

    def unlinked(self, steps: int) -> str:
        """Tells what decided instead of the graph."""
        return (
            f"its graph had not one edge in {counted(steps, 'step')}: dawn chose as threshold at "
            f"tau_low {min(self.tau_low, self.tau_high):g} would"
        )

    def select(self, view: RowView) -> IntArray:
        """Chooses the sure, the induced and the free candidates."""
        return self.select_linked(view)[0]

    def select_linked(self, view: RowView) -> tuple[IntArray, bool]:
        """Chooses, and tells whether a candidate depends on another one or on an anchor."""
        confidence = view.confidence[view.candidates]
        columns = inverse(view.attention_keys, len(view.masked))[view.candidates]
        edges = self._edges(view, columns)
        anchored = graph.depends_on_any(edges, self._anchors(view))
        among = edges[:, columns]
        sure = confidence >= self.tau_high
        induced = anchored & (confidence >= self.tau_induce)
        chosen = sure | induced
        settled = sure & induced if self.adjacency == "both" else chosen
        adjacent = among[:, settled].any(axis=1)
        open_ = np.flatnonzero((confidence >= self.tau_low) & ~chosen & ~adjacent)
        conflicts = among[open_][:, open_]
        free = graph.independent_set(conflicts | conflicts.T, confidence[open_])
        chosen[open_[free]] = True
        found = view.candidates[chosen] if chosen.any() else view.most_confident()
        return found, bool(anchored.any() or among.any())

    def _edges(self, view: RowView, columns: IntArray) -> BoolArray:
        """Dependencies of the candidates [n, K], given the column of each of them."""
        rows = inverse(view.attention_rows, len(view.masked))[view.candidates]
        tau_sink, tau_edge = self.attention_thresholds(len(view.attention_keys))
        sinks = graph.sink_keys(view.key_means(), tau_sink)
        return graph.dependencies(view.attention[rows], columns, sinks, tau_edge)

    def _anchors(self, view: RowView) -> BoolArray:
        """Keys at known, confidently re-predicted positions before the window's end, [K]."""
        anchors = (view.confidence >= self.tau_anchor) & ~view.masked
        anchors[view.window[1] :] = False
        return anchors[view.attention_keys]
