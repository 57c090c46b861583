"""DAPD's rule: a slow plain reference, and edge cases computed by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Dapd, RowView, Threshold

MakeView = Callable[..., RowView]


def chosen(policy: Dapd, view: RowView) -> list[int]:
    return sorted(policy.select(view).tolist())


def slow_reference(policy: Dapd, view: RowView) -> list[int]:
    """The published functions written out over pairs of positions, in Python numbers."""
    attention, p = view.attention.tolist(), view.confidence.tolist()
    candidates = view.candidates.tolist()
    remaining = int(view.masked.sum())
    progress = 1 - remaining / (remaining + view.decided)
    tau = policy.tau_min + (policy.tau_max - policy.tau_min) * progress

    def score(i: int, j: int) -> float:
        return 0.0 if i == j else (attention[i][j] + attention[j][i]) / 2

    degree = {i: sum(score(i, j) for j in candidates) for i in candidates}
    strongest = {i: max(1e-8, *(score(i, j) for j in candidates), 0.0) for i in candidates}
    selected: set[int] = set()
    if policy.variant == "direct":
        selected = {i for i in candidates if p[i] >= np.float32(policy.tau_certain)}
    independent: list[int] = []
    rest = [i for i in candidates if i not in selected]
    for i in sorted(rest, key=lambda i: (-degree[i] * p[i], i)):
        if all(score(i, k) / strongest[i] <= tau for k in independent):
            independent.append(i)
    selected |= set(independent)
    if policy.variant == "staged" and progress >= policy.stage:
        selected |= {i for i in candidates if p[i] >= np.float32(policy.tau_high)}
    return sorted(selected)


@pytest.mark.parametrize("variant", ["staged", "direct"])
def test_fast_selection_equals_a_slow_one_on_1000_random_states(
    variant: str, random_view: MakeView
) -> None:
    rng = np.random.default_rng(11)
    sizes = set()
    for _ in range(1000):
        view = random_view(rng, decided=int(rng.integers(0, 30)))
        tau_min = rng.uniform(0, 0.3)
        policy = Dapd(variant, tau_min, rng.uniform(tau_min, 1), tau_high=0.8)
        found = chosen(policy, view)
        assert found == slow_reference(policy, view)
        sizes.add(len(found))
    assert len(sizes) > 5, "the states must exercise small and large selections"


def view_of(
    make_view: MakeView, confidence: list[float], mutual: dict[tuple[int, int], float], decided: int
) -> RowView:
    """One given position followed by a block, with a few mutual attentions."""
    length = len(confidence)
    attention = np.zeros((length, length))
    for (one, other), weight in mutual.items():
        attention[one, other] = attention[other, one] = weight
    masked = np.arange(length) >= 1
    return make_view(confidence, attention, masked, (1, length), decided=decided)


def test_the_strongest_partner_of_a_later_candidate_excludes_it(make_view: MakeView) -> None:
    """Degrees are 0.1, 0.3 and 0.2: 2 goes first, and both others lean on it most."""
    view = view_of(make_view, [0.0, 0.5, 0.5, 0.5], {(1, 2): 0.1, (2, 3): 0.2}, decided=0)
    assert chosen(Dapd(), view) == [2]


def test_a_weak_dependency_passes_once_the_threshold_has_grown(make_view: MakeView) -> None:
    """2 goes first; 1 leans on 2 by 0.02 / 0.20 = 0.1 of its strongest dependency, which is 3.

    Either 1 or 3 goes with 2, and 1 comes before 3 if it may.
    """
    mutual = {(1, 2): 0.02, (1, 3): 0.20, (2, 4): 0.60}
    confidence = [0.0, 0.5, 0.5, 0.1, 0.1]
    assert chosen(Dapd(), view_of(make_view, confidence, mutual, decided=0)) == [2, 3]
    grown = view_of(make_view, confidence, mutual, decided=8)  # tau = 0.01 + 0.14 * 8 / 12
    assert chosen(Dapd(), grown) == [1, 2]


def test_the_more_confident_of_equal_degree_goes_first(make_view: MakeView) -> None:
    view = view_of(make_view, [0.0, 0.5, 0.6], {(1, 2): 0.2}, decided=0)
    assert chosen(Dapd(), view) == [2]
    tie = view_of(make_view, [0.0, 0.5, 0.5], {(1, 2): 0.2}, decided=0)
    assert chosen(Dapd(), tie) == [1]


def test_direct_commits_what_is_certain_and_the_rest_does_not_heed_it(make_view: MakeView) -> None:
    confidence = [0.0, 0.999, 0.5, 0.4]
    view = view_of(make_view, confidence, {(1, 2): 0.3, (2, 3): 0.1}, decided=0)
    assert chosen(Dapd("direct"), view) == [1, 2]
    assert chosen(Dapd("direct", tau_certain=1.0), view) == [1, 3]
    certain = view_of(make_view, [0.0, 1.0, 1.0], {(1, 2): 0.3}, decided=0)
    assert chosen(Dapd("direct"), certain) == [1, 2]


@pytest.mark.parametrize(("decided", "expected"), [(1, [1]), (2, [1, 2])])
def test_the_second_stage_begins_when_half_is_decided(
    decided: int, expected: list[int], make_view: MakeView
) -> None:
    view = view_of(make_view, [0.0, 0.95, 0.92], {(1, 2): 0.3}, decided=decided)
    assert chosen(Dapd(), view) == expected


def test_the_schedule_counts_undecided_positions_after_the_window(make_view: MakeView) -> None:
    """Two of six are decided, so the second stage has not begun although the block is half done."""
    attention = np.zeros((7, 7))
    attention[1, 2] = attention[2, 1] = 0.3
    masked = [False, True, True, False, False, True, True]
    view = make_view([0, 0.95, 0.92, 1, 1, 0.9, 0.9], attention, masked, (1, 5), decided=2)
    assert chosen(Dapd(), view) == [1]


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
        assert chosen(Dapd(tau_max=0.5), view) == chosen(Dapd(tau_max=0.5), shuffled)


def test_short_answers_are_left_to_the_threshold_rule() -> None:
    assert Dapd(tau_high=0.85).short_form() == Threshold(0.85)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "both"}, "variant is 'both'; use one of staged, direct"),
        ({"tau_min": -0.1}, "tau_min is -0.1; expected a number from 0 to 1"),
        ({"tau_min": 0.2}, "tau_max is 0.15; expected a number from 0.2 to 1"),
        ({"tau_certain": 1.1}, "tau_certain is 1.1; expected a number from 0 to 1"),
        ({"tau_high": "0.9"}, "tau_high is '0.9'; expected a number"),
        ({"stage": float("nan")}, "stage is nan; expected a number"),
    ],
)
def test_bad_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"policy 'dapd': {message}"):
        Dapd(**options)
