"""The rules that read confidence alone, factor and local-leap, against slow plain references."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Factor, LocalLeap, Policy, RowView

MakeView = Callable[..., RowView]


def chosen(policy: Policy, view: RowView) -> list[int]:
    return sorted(policy.select(view).tolist())


def view_of(make_view: MakeView, confidence: list[float]) -> RowView:
    """One given position followed by a block with these confidences."""
    length = len(confidence) + 1
    return make_view([1, *confidence], np.eye(length), np.arange(length) >= 1, (1, length))


def slow_factor(policy: Factor, view: RowView) -> list[int]:
    p = view.confidence.tolist()
    ordered = sorted(view.candidates.tolist(), key=lambda i: (-p[i], i))
    count = 1
    while count < len(ordered) and p[ordered[count]] >= 1 - policy.factor / (count + 2):
        count += 1
    if count == len(ordered) - 1:
        count += 1
    return sorted(ordered[:count])


def slow_local_leap(policy: LocalLeap, view: RowView) -> list[int]:
    p, candidates = view.confidence.tolist(), view.candidates.tolist()
    high, low = np.float32(policy.threshold), np.float32(policy.relaxed_threshold)
    anchors = [i for i in candidates if p[i] >= high]
    found = {max(candidates, key=lambda i: (p[i], -i))}
    for i in candidates:
        near = any(abs(i - anchor) <= policy.radius for anchor in anchors)
        if p[i] >= (low if near else high):
            found.add(i)
    return sorted(found)


def test_factor_equals_a_slow_one_on_1000_random_states(random_view: MakeView) -> None:
    rng = np.random.default_rng(5)
    sizes = set()
    for _ in range(1000):
        view, policy = random_view(rng), Factor(rng.uniform(0, 6))
        found = chosen(policy, view)
        assert found == slow_factor(policy, view)
        sizes.add(len(found))
    assert len(sizes) > 8, "the states must exercise small and large selections"


def test_local_leap_equals_a_slow_one_on_1000_random_states(random_view: MakeView) -> None:
    rng = np.random.default_rng(6)
    sizes = set()
    for _ in range(1000):
        threshold = rng.choice([0.5, 0.8, 0.9])
        relaxed = rng.choice([0.1, 0.3, 0.5])
        policy = LocalLeap(threshold, relaxed, int(rng.integers(0, 6)))
        view = random_view(rng)
        found = chosen(policy, view)
        assert found == slow_local_leap(policy, view)
        sizes.add(len(found))
    assert len(sizes) > 8, "the states must exercise small and large selections"


def test_factor_raises_its_threshold_with_every_token(make_view: MakeView) -> None:
    """With factor 1 the second needs 2/3, the third 3/4 and the fourth 4/5."""
    assert chosen(Factor(), view_of(make_view, [0.70, 0.1, 0.74, 0.2, 0.1])) == [1, 3]
    assert chosen(Factor(), view_of(make_view, [0.60, 0.1, 0.74, 0.2, 0.1])) == [3]
    assert chosen(Factor(), view_of(make_view, [0.76, 0.81, 0.90, 0.85, 0.1, 0.1])) == [2, 3, 4]


def test_factor_never_leaves_a_single_candidate_behind(make_view: MakeView) -> None:
    assert chosen(Factor(), view_of(make_view, [0.9, 0.1])) == [1, 2]
    assert chosen(Factor(), view_of(make_view, [0.9, 0.1, 0.8])) == [1, 2, 3]
    assert chosen(Factor(0.0), view_of(make_view, [0.9, 0.1, 0.8])) == [1]
    assert chosen(Factor(), view_of(make_view, [0.1])) == [1]


def test_local_leap_relaxes_only_within_the_radius_of_an_anchor(make_view: MakeView) -> None:
    confidence = [0.8, 0.8, 0.9, 0.1, 0.8, 0.8]
    assert chosen(LocalLeap(radius=1), view_of(make_view, confidence)) == [2, 3]
    assert chosen(LocalLeap(radius=2), view_of(make_view, confidence)) == [1, 2, 3, 5]
    assert chosen(LocalLeap(radius=0), view_of(make_view, confidence)) == [3]


def test_local_leap_without_an_anchor_commits_the_best(make_view: MakeView) -> None:
    assert chosen(LocalLeap(), view_of(make_view, [0.8, 0.85, 0.85])) == [2]


def test_decided_positions_are_no_anchors_of_local_leap(make_view: MakeView) -> None:
    view = make_view([1, 0.99, 0.8, 0.85], np.eye(4), [False, False, True, True], (1, 4))
    assert chosen(LocalLeap(), view) == [3]


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        (Factor, {"factor": -1}, "policy 'factor': factor is -1; expected a number from 0"),
        (Factor, {"factor": None}, "policy 'factor': factor is None; expected a number"),
        (LocalLeap, {"threshold": 2}, "threshold is 2; expected a number from 0 to 1"),
        (LocalLeap, {"threshold": 0.6}, "relaxed_threshold is 0.75; expected a number from 0 to"),
        (LocalLeap, {"radius": -1}, "radius is -1; expected an integer >= 0"),
        (LocalLeap, {"radius": 1.5}, "radius is 1.5; expected an integer >= 0"),
    ],
)
def test_bad_option_is_named(rule: type[Policy], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rule(**options)
