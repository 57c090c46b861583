"""What a rule says of its choice is what it chose, and it names what is there."""

from collections.abc import Callable

import numpy as np
import pytest

from dawn_runtime import Dapd, Dawn, LocalLeap, OnePerStep, Policy, RowView, Threshold
from dawn_runtime.arrays import inverse
from dawn_runtime.policies import REASONS
from dawn_runtime.policies.graph import key_means

MakeView = Callable[..., RowView]
RULES = (
    *(Threshold(0.7), Threshold(1.0), LocalLeap(0.9, 0.5, 3), OnePerStep("entropy")),
    *(Dapd("staged", stage=0.0), Dapd("direct", tau_certain=0.9), Dapd("staged", stage=1.0)),
    Dawn(tau_sink=0.2, tau_edge=0.1, tau_induce=0.4, tau_low=0.5, tau_high=0.9, tau_anchor=0.5),
    Dawn(tau_sink=0.1, tau_edge=0.05, tau_low=0.2, tau_high=0.9, adjacency="union"),
)


@pytest.mark.parametrize("policy", RULES, ids=str)
def test_the_reasons_are_those_of_the_choice(policy: Policy, random_view: MakeView) -> None:
    seen = set()
    for seed in range(200):
        view = random_view(np.random.default_rng(seed), decided=3)
        told = policy.explain(view)
        assert sorted(told.reasons) == sorted(policy.select(view).tolist())
        assert set(told.reasons.values()) <= set(REASONS)
        seen |= set(told.reasons.values())
        induced = {where for where, reason in told.reasons.items() if reason == "induced"}
        assert set(told.because) == induced
        assert not set(told.waits) & set(told.reasons)
        assert set(told.waits.values()) <= set(told.reasons)
    assert seen, "or nothing is shown"


@pytest.mark.parametrize("adjacency", ["both", "union"])
def test_dawn_names_edges_that_are_there(adjacency: str, random_view: MakeView) -> None:
    rule = Dawn(
        tau_sink=0.2, tau_edge=0.1, tau_low=0.3, tau_induce=0.4, tau_high=0.9, adjacency=adjacency
    )
    links = {"because": 0, "waits": 0, "sinks": 0}
    for seed in range(300):
        view = random_view(np.random.default_rng(seed))
        told = rule.explain(view)
        rows = inverse(view.attention_rows, len(view.masked))
        columns = inverse(view.attention_keys, len(view.masked))
        edge = view.attention[np.ix_(rows, columns)] >= np.float32(rule.tau_edge)
        sinks = key_means(view.attention) > rule.tau_sink
        assert told.sinks.tolist() == np.flatnonzero(sinks).tolist()
        edge &= ~sinks
        for position, anchor in told.because.items():
            assert edge[position, anchor]
            assert not view.masked[anchor]
            assert view.confidence[anchor] >= np.float32(rule.tau_anchor)
        for position, blocker in told.waits.items():
            assert edge[position, blocker] or edge[blocker, position]
            assert view.confidence[position] >= np.float32(rule.tau_low)
        links["because"] += len(told.because)
        links["waits"] += len(told.waits)
        links["sinks"] += len(told.sinks)
    assert min(links.values()) > 20


def test_a_rule_that_chooses_otherwise_has_no_reasons_of_another() -> None:
    class Mine(Threshold):
        name = "mine"

        def select(self, view: RowView) -> np.ndarray:
            return view.candidates[:1]

    assert Mine.explain is Policy.explain
    assert Threshold.explain is not Policy.explain
