"""What a rule says of its choice is what it chose, and it names what is there."""

from collections.abc import Callable

import numpy as np
import pytest

from dawn_runtime import Dapd, Dawn, LocalLeap, OnePerStep, Policy, RowView, Threshold
from dawn_runtime.arrays import inverse
from dawn_runtime.policies import REASONS
from dawn_runtime.policies.explanation import MOST_EDGES, edges_of
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


def test_dawn_tells_its_graph_and_each_edge_once(random_view: MakeView) -> None:
    rule, seen = Dawn(tau_sink=0.2, tau_edge=0.1), 0
    for seed in range(200):
        view = random_view(np.random.default_rng(seed))
        edges = rule.explain(view).edges
        assert edges is not None
        sinks = key_means(view.attention) > rule.tau_sink
        expected = {
            (i, j): view.attention[i, j]
            for i in view.candidates.tolist()
            for j in view.candidates.tolist()
            if i != j and not sinks[j] and view.attention[i, j] >= np.float32(rule.tau_edge)
        }
        pairs = list(map(tuple, edges.pairs.tolist()))
        assert dict(zip(pairs, edges.weights.tolist(), strict=True)) == expected
        assert edges.count == len(pairs) == len(set(pairs))
        assert sorted(edges.weights.tolist(), reverse=True) == edges.weights.tolist()
        seen += len(pairs)
    assert seen > 100


def test_what_dapd_decides_together_has_no_edge_that_was_in_its_way(random_view: MakeView) -> None:
    rule, between = Dapd("direct", tau_min=0.3, tau_max=0.3, tau_certain=1.0), 0
    for seed in range(200):
        view = random_view(np.random.default_rng(seed))
        told = rule.explain(view)
        assert told.edges is not None
        free = {position for position, reason in told.reasons.items() if reason == "free"}
        # One direction may be left: the later of two heeds the earlier one alone.
        both = set(map(tuple, told.edges.pairs.tolist()))
        both = {(i, j) for i, j in both if (j, i) in both}
        assert not any(i in free and j in free for i, j in both)
        between += len(both)
        assert (told.edges.weights > np.float32(0.3)).all()
    assert between > 20


def test_no_more_edges_are_told_than_there_is_room_for() -> None:
    count = 40
    weights = np.random.default_rng(0).random((count, count)).astype(np.float32)
    told = edges_of(np.arange(count) + 5, np.ones((count, count), dtype=bool), weights)
    assert (len(told.pairs), len(told.weights), told.count) == (MOST_EDGES, MOST_EDGES, count**2)
    assert told.weights.tolist() == sorted(weights.ravel().tolist(), reverse=True)[:MOST_EDGES]
    i, j = (told.pairs[0] - 5).tolist()
    assert weights[i, j] == told.weights[0]


def test_a_rule_without_a_graph_tells_none(random_view: MakeView) -> None:
    view = random_view(np.random.default_rng(1))
    assert Threshold(0.5).explain(view).edges is None
    assert LocalLeap().explain(view).edges is None
