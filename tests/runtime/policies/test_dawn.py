"""DAWN's rule: golden cases, a slow plain reference, and edge cases computed by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Dawn, RowView, Threshold
from dawn_runtime.policies import graph

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "llada-random"
CASES = json.loads((GOLDEN / "selector_dawn.json").read_text())
MakeView = Callable[..., RowView]
NO_SINKS = 1.0
"""No column mean exceeds this."""


def chosen(policy: Dawn, view: RowView) -> list[int]:
    return sorted(policy.select(view).tolist())


@pytest.mark.parametrize("number", range(len(CASES)))
def test_selection_equals_the_published_rule(number: int, make_view: MakeView) -> None:
    golden = np.load(GOLDEN / "selector_dawn.npz")
    case = dict(CASES[number])
    block_length = case.pop("block_length")
    begin = case.pop("prompt_length") + case.pop("block") * block_length
    view = make_view(
        golden["confidence"][number],
        golden["attention"][number],
        golden["masked"][number],
        (begin, begin + block_length),
    )
    found = chosen(Dawn(**case), view)
    assert found == np.flatnonzero(golden["selected"][number]).tolist()
    assert 0 not in found


def slow_reference(policy: Dawn, view: RowView) -> list[int]:
    """The rule written out over pairs of positions, in Python numbers."""
    length, end = len(view.masked), view.window[1]
    attention = view.attention.tolist()
    p = view.confidence.tolist()
    sinks = [sum(row[j] for row in attention) / length > policy.tau_sink for j in range(length)]

    def depends(i: int, j: int) -> bool:
        return i != j and not sinks[j] and attention[i][j] >= np.float32(policy.tau_edge)

    known = [j for j in range(end) if not view.masked[j]]
    anchors = [j for j in known if p[j] >= np.float32(policy.tau_anchor)]
    candidates = view.candidates.tolist()
    sure = {i for i in candidates if p[i] >= np.float32(policy.tau_high)}
    induced = {
        i
        for i in candidates
        if p[i] >= np.float32(policy.tau_induce) and any(depends(i, j) for j in anchors)
    }
    settled = sure & induced if policy.adjacency == "both" else sure | induced
    free = [
        i
        for i in candidates
        if p[i] >= np.float32(policy.tau_low)
        and i not in sure | induced
        and not any(depends(i, j) for j in settled)
    ]
    independent: list[int] = []
    while free:
        best = max(free, key=lambda i: (p[i], -i))
        independent.append(best)
        free = [i for i in free if i != best and not depends(i, best) and not depends(best, i)]
    found = sure | induced | set(independent)
    return sorted(found) or [max(candidates, key=lambda i: (p[i], -i))]


@pytest.mark.parametrize("adjacency", ["both", "union"])
def test_fast_selection_equals_a_slow_one_on_1000_random_states(
    adjacency: str, random_view: MakeView
) -> None:
    rng = np.random.default_rng(7)
    sizes = set()
    for _ in range(1000):
        view = random_view(rng)
        tau_sink, tau_edge = rng.uniform(0.02, 0.4), rng.uniform(0.01, 0.3)
        tau_low, tau_induce = rng.choice([0.2, 0.5, 0.7], 2)
        policy = Dawn(tau_sink, tau_edge, tau_induce, tau_low, adjacency=adjacency)
        found = chosen(policy, view)
        assert found == slow_reference(policy, view)
        sizes.add(len(found))
    assert len(sizes) > 8, "the states must exercise small and large selections"


def test_selection_does_not_depend_on_the_order_of_keys(
    make_view: MakeView, random_view: MakeView
) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        view = random_view(rng)
        keys, rows = (rng.permutation(len(view.masked)) for _ in range(2))
        shuffled = make_view(
            view.confidence,
            view.attention[rows][:, keys],
            view.masked,
            view.window,
            attention_rows=rows,
            attention_keys=keys,
        )
        policy = Dawn(0.2, 0.05, 0.5, 0.3)
        assert chosen(policy, view) == chosen(policy, shuffled)


def view_of(
    make_view: MakeView, confidence: list[float], edges: dict[tuple[int, int], float], given: int
) -> RowView:
    """A row of `given` known positions followed by one block, with a few strong attentions."""
    length = len(confidence)
    attention = np.zeros((length, length))
    for (query, key), weight in edges.items():
        attention[query, key] = weight
    return make_view(confidence, attention, np.arange(length) >= given, (given, length))


def test_free_candidates_in_conflict_keep_the_more_confident(make_view: MakeView) -> None:
    view = view_of(make_view, [0.1, 0.80, 0.85, 0.78], {(1, 2): 0.2}, given=1)
    assert chosen(Dawn(tau_sink=NO_SINKS), view) == [2, 3]


def test_fully_conflicting_candidates_give_one_and_never_position_0(make_view: MakeView) -> None:
    """The published code adds index 0 here, once for every candidate that was removed."""
    edges = {(i, j): 0.2 for i in range(1, 4) for j in range(1, 4) if i != j}
    view = view_of(make_view, [0.99, 0.80, 0.85, 0.85], edges, given=1)
    assert chosen(Dawn(tau_sink=NO_SINKS), view) == [2]


def test_sinks_bear_no_dependencies(make_view: MakeView) -> None:
    edges = {(1, 2): 0.2, (3, 2): 0.2}
    view = view_of(make_view, [0.1, 0.80, 0.85, 0.78], edges, given=1)
    assert chosen(Dawn(tau_sink=0.11), view) == [2]
    assert chosen(Dawn(tau_sink=0.09), view) == [1, 2, 3]


def test_anchors_in_the_prompt_induce(make_view: MakeView) -> None:
    confidence = [0.95, 0.72, 0.72, 0.5]
    assert chosen(Dawn(tau_sink=NO_SINKS), view_of(make_view, confidence, {(1, 0): 0.2}, 1)) == [1]
    confidence[0] = 0.5  # known, but no longer predicted with confidence: no anchor
    assert chosen(Dawn(tau_sink=NO_SINKS), view_of(make_view, confidence, {(1, 0): 0.2}, 1)) == [1]
    assert chosen(Dawn(tau_sink=NO_SINKS), view_of(make_view, confidence, {(2, 0): 0.2}, 1)) == [
        1
    ], "nothing is induced, so the most confident one remains, the lowest position on ties"


def test_known_positions_after_the_window_are_no_anchors(make_view: MakeView) -> None:
    attention = np.zeros((4, 4))
    attention[1, 3] = 0.2
    view = make_view([0.1, 0.72, 0.74, 0.99], attention, [False, True, True, False], (1, 3))
    assert chosen(Dawn(tau_sink=NO_SINKS), view) == [2]


@pytest.mark.parametrize(("adjacency", "expected"), [("both", [1, 2]), ("union", [1])])
def test_adjacency_says_which_positions_are_settled(
    adjacency: str, expected: list[int], make_view: MakeView
) -> None:
    """Position 1 is sure but not induced; position 2 depends on it."""
    view = view_of(make_view, [0.1, 0.95, 0.80], {(2, 1): 0.2}, given=1)
    assert chosen(Dawn(tau_sink=NO_SINKS, adjacency=adjacency), view) == expected


def test_only_what_depends_on_a_settled_position_waits(make_view: MakeView) -> None:
    """Sure and induced position 1 depends on 2, and 3 depends on 1: 3 waits, 2 does not."""
    edges = {(1, 0): 0.2, (1, 2): 0.2, (3, 1): 0.2}
    view = view_of(make_view, [0.95, 0.95, 0.80, 0.80], edges, given=1)
    assert chosen(Dawn(tau_sink=NO_SINKS), view) == [1, 2]


def test_ties_go_to_the_lowest_position(make_view: MakeView) -> None:
    view = view_of(make_view, [0.1, 0.4, 0.6, 0.6], {}, given=1)
    assert chosen(Dawn(), view) == [2]
    conflict = view_of(make_view, [0.1, 0.8, 0.8, 0.8], {(3, 1): 0.2, (2, 3): 0.2}, given=1)
    assert chosen(Dawn(tau_sink=NO_SINKS), conflict) == [1, 2]


def test_one_mask_is_always_chosen(make_view: MakeView) -> None:
    view = make_view([0.9, 0.9, 0.01], np.eye(3), [False, False, True], (1, 3))
    assert chosen(Dawn(), view) == [2]


def test_independent_set_is_maximal_and_free_of_conflicts() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        size = int(rng.integers(0, 20))
        half = np.triu(rng.random((size, size)) < rng.random(), 1)
        conflicts, weights = half | half.T, rng.random(size).astype(np.float32)
        found = graph.independent_set(conflicts, weights)
        assert not conflicts[np.ix_(found, found)].any()
        left_out = np.setdiff1d(np.arange(size), found)
        assert conflicts[np.ix_(left_out, found)].any(axis=1).all()


def test_short_answers_are_left_to_the_threshold_rule() -> None:
    assert Dawn(tau_high=0.85).short_form() == Threshold(0.85)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau_sink": -0.1}, "tau_sink is -0.1; expected a number from 0 to 1"),
        ({"tau_low": 1.5}, "tau_low is 1.5; expected a number from 0 to 1"),
        ({"tau_high": "0.9"}, "tau_high is '0.9'; expected a number"),
        ({"tau_anchor": True}, "tau_anchor is True; expected a number"),
        ({"tau_induce": float("nan")}, "tau_induce is nan; expected a number"),
        ({"tau_edge": 0.0}, "tau_edge is 0.0; expected a number"),
        ({"adjacency": "any"}, "adjacency is 'any'; use one of both, union"),
    ],
)
def test_bad_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"policy 'dawn': {message}"):
        Dawn(**options)
