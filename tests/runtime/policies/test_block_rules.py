"""The rules published with block-causal and causal models, against slow plain references."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from dawn_runtime import OptionError, RowView
from dawn_runtime.policies import Sdar, Wedlm

MakeView = Callable[..., RowView]


def slow_sdar(rule: Sdar, view: RowView) -> list[int]:
    p, open_ = view.confidence.tolist(), view.candidates.tolist()
    if rule.strategy == "sequential":
        return open_[: rule.at_least]
    sure = [i for i in open_ if p[i] > np.float32(rule.threshold)]
    if rule.strategy == "dynamic" and len(sure) >= rule.at_least:
        return sure
    return sorted(sorted(open_, key=lambda i: (-p[i], i))[: rule.at_least])


def slow_wedlm(rule: Wedlm, view: RowView) -> list[int]:
    h, open_ = view.measured("entropy"), view.candidates.tolist()
    sums = {i: h[i] + np.float32(rule.penalty) * np.float32(i - open_[0]) for i in open_}
    below = [i for i in open_ if sums[i] < rule.tau]
    return below or [min(open_, key=lambda i: (sums[i], i))]


def measured(rng: np.random.Generator, view: RowView) -> RowView:
    return replace(view, entropy=rng.exponential(0.6, len(view.masked)).astype(np.float32))


def test_both_equal_slow_ones_on_1000_random_states(random_view: MakeView) -> None:
    rng = np.random.default_rng(4)
    sizes = {"sdar": set[int](), "wedlm": set[int]()}
    for _ in range(1000):
        view = measured(rng, random_view(rng))
        strategy = str(rng.choice(["dynamic", "static", "sequential"]))
        sdar = Sdar(float(rng.choice([0.3, 0.8, 1.0])), int(rng.integers(1, 5)), strategy)
        wedlm = Wedlm(float(rng.choice([0.0, 0.3, 1.0])), float(rng.choice([0.0, 0.02, 1.0])))
        found = sdar.select(view), wedlm.select(view)
        assert sorted(found[0].tolist()) == slow_sdar(sdar, view)
        assert sorted(found[1].tolist()) == slow_wedlm(wedlm, view)
        sizes["sdar"].add(len(found[0]))
        sizes["wedlm"].add(len(found[1]))
    assert min(map(len, sizes.values())) > 5, "the states must exercise small and large selections"


def view_of(make_view: MakeView, confidence: list[float]) -> RowView:
    """One given position followed by a block with these confidences."""
    length = len(confidence) + 1
    return make_view([1, *confidence], np.eye(length), np.arange(length) >= 1, (1, length))


def test_the_threshold_is_exceeded_not_reached(make_view: MakeView) -> None:
    view = view_of(make_view, [1.0, 1.0, 0.5])
    assert Sdar(1.0).select(view).tolist() == [1]
    assert Sdar(0.5).select(view).tolist() == [1, 2]
    kernel = Sdar(0.5).kernel(4)
    assert kernel is not None
    assert np.float32(0.5) < np.float32(kernel.tau_high) < 0.5001
    assert Sdar(0.5, 2).kernel(4) is None


def test_a_quota_is_decided_whatever_the_threshold(make_view: MakeView) -> None:
    view = view_of(make_view, [0.2, 0.9, 0.3, 0.4])
    assert sorted(Sdar(0.8, 2).select(view).tolist()) == [2, 4]
    assert sorted(Sdar(0.1, 2, "static").select(view).tolist()) == [2, 4]
    assert Sdar(0.1, 2, "sequential").select(view).tolist() == [1, 2]
    assert sorted(Sdar(0.1, 9, "static").select(view).tolist()) == [1, 2, 3, 4]


def test_entropy_counts_for_more_to_the_right(make_view: MakeView) -> None:
    view = replace(
        view_of(make_view, [0.5, 0.5, 0.5]),
        entropy=np.array([0, 0.3, 0.25, 0.2], dtype=np.float32),
    )
    assert Wedlm(0.31, 0.0).select(view).tolist() == [1, 2, 3]
    assert Wedlm(0.31, 0.1).select(view).tolist() == [1]
    assert Wedlm(0.0, 0.01).select(view).tolist() == [3]
    assert Wedlm(0.0, 0.1).select(view).tolist() == [1]


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        (Sdar, {"at_least": 0}, "at_least is 0; expected an integer >= 1"),
        (Sdar, {"strategy": "best"}, "strategy"),
        (Sdar, {"threshold": 1.1}, "threshold is 1.1; expected a number from 0 to 1"),
        (Wedlm, {"tau": -1}, "tau is -1"),
        (Wedlm, {"penalty": -0.1}, "penalty is -0.1"),
    ],
)
def test_bad_options_are_refused(rule: type, options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        rule(**options)
