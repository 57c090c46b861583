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
from typing import ClassVar, NamedTuple

import numpy as np

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray, inverse
from dawn_runtime.option_fields import option
from dawn_runtime.policies import graph
from dawn_runtime.policies.base import POLICIES, Needs, Policy, RowView
from dawn_runtime.policies.explanation import Edges, Explanation, edges_of, reasons_of
from dawn_runtime.policies.kernel import Kernel
from dawn_runtime.policies.threshold import Threshold
from dawn_runtime.wording import counted

_SMALLEST_EDGE = 1e-9
_LONGEST = 2**31 - 1
"""Lengths are int32 in the kernels; thresholds of that scale are finite in float32."""


class _Sets(NamedTuple):
    """What a step of n candidates and K keys comes to.

    Attributes:
        sure: bool [n].
        induced: bool [n].
        free: int64 [m] which candidates are free.
        settled: bool [n] those that what is adjacent to them has to wait for.
        edges: bool [n, K] which key each candidate depends on.
        among: bool [n, n] the same for the candidates among themselves.
        linked: Whether there is an edge among them or to an anchor.
    """

    sure: BoolArray
    induced: BoolArray
    free: IntArray
    settled: BoolArray
    edges: BoolArray
    among: BoolArray
    linked: bool


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
        sets = self._sets(view)
        chosen = sets.sure | sets.induced
        chosen[sets.free] = True
        found = view.candidates[chosen] if chosen.any() else view.most_confident()
        return found, sets.linked

    def explain(self, view: RowView) -> Explanation:
        """Tells the three sets, what induced, and what each confident one that waits waits for."""
        sets, candidates = self._sets(view), view.candidates
        sure, induced = candidates[sets.sure], candidates[sets.induced & ~sets.sure]
        reasons = reasons_of(sure=sure, induced=induced, free=candidates[sets.free])
        if not reasons:
            reasons = reasons_of(best=view.most_confident())
        tau_sink, _ = self.attention_thresholds(len(view.attention_keys))
        sinks = view.attention_keys[graph.sink_keys(view.key_means(), tau_sink)]
        strength = np.where(sets.edges & self._anchors(view), self._rows(view), 0)
        strongest = view.attention_keys[strength.argmax(axis=1)]
        because = dict(zip(candidates.tolist(), strongest.tolist(), strict=True))
        return Explanation(
            reasons,
            {position: because[position] for position in induced.tolist()},
            self._waits(view, sets),
            np.sort(sinks),
            edges=self._graph(view, sets),
        )

    def _graph(self, view: RowView, sets: "_Sets") -> Edges:
        """What the candidates depend on among themselves, by attention."""
        columns = inverse(view.attention_keys, len(view.masked))[view.candidates]
        return edges_of(view.candidates, sets.among, self._rows(view)[:, columns])

    def _waits(self, view: RowView, sets: "_Sets") -> dict[int, int]:
        """Which confident candidates are left out, and which chosen one each conflicts with."""
        confident = view.confidence[view.candidates] >= self.tau_low
        chosen = sets.sure | sets.induced
        left = confident & ~chosen
        left[sets.free] = False
        free = np.zeros(len(chosen), dtype=bool)
        free[sets.free] = True
        blocks = (sets.among & sets.settled) | ((sets.among | sets.among.T) & free)
        return {
            int(view.candidates[place]): int(view.candidates[blocks[place].argmax()])
            for place in np.flatnonzero(left).tolist()
        }

    def _sets(self, view: RowView) -> "_Sets":
        """The sure, the induced and the free candidates, and the graph that they come from."""
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
        linked = bool(anchored.any() or among.any())
        return _Sets(sure, induced, open_[free], settled, edges, among, linked)

    def _rows(self, view: RowView) -> FloatArray:
        """Attention of the candidates, [n, K]."""
        return view.attention[inverse(view.attention_rows, len(view.masked))[view.candidates]]

    def _edges(self, view: RowView, columns: IntArray) -> BoolArray:
        """Dependencies of the candidates [n, K], given the column of each of them."""
        tau_sink, tau_edge = self.attention_thresholds(len(view.attention_keys))
        sinks = graph.sink_keys(view.key_means(), tau_sink)
        return graph.dependencies(self._rows(view), columns, sinks, tau_edge)

    def _anchors(self, view: RowView) -> BoolArray:
        """Keys at known, confidently re-predicted positions before the window's end, [K]."""
        anchors = (view.confidence >= self.tau_anchor) & ~view.masked
        anchors[view.window[1] :] = False
        return anchors[view.attention_keys]
