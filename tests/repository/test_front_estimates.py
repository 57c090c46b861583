"""Intervals, fronts and who is ahead of whom, against what was computed by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from front.drawing import spread
from front.estimates import Resampled, difference_of_shares, wilson
from front.pareto import beats, far_behind, front, thinned
from front.record import Outcome
from front.rules import Setting
from front.summary import Judged

POINTS = st.lists(
    st.tuples(st.integers(0, 4).map(float), st.integers(0, 4).map(float)), min_size=1, max_size=12
)


@pytest.mark.parametrize(
    ("right", "items", "low", "high"),
    [
        # Newcombe 1998 (Statistics in Medicine 17, 857), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # z**2 = 3.8415: 1 - z**2 / (200 + z**2)
        (200, 200, 0.9812, 1.0),
    ],
)
def test_the_interval_of_a_share_is_the_published_one(
    right: int, items: int, low: float, high: float
) -> None:
    assert wilson(right, items) == pytest.approx((low, high), abs=5e-5)


def pairs(both: int, only_one: int, only_other: int, neither: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    one = [True] * (both + only_one) + [False] * (only_other + neither)
    other = [True] * both + [False] * only_one + [True] * only_other + [False] * neither
    return np.array(one), np.array(other)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        # Newcombe 1998 (Statistics in Medicine 17, 2635), table II, method 10.
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((36, 14, 0, 0), 0.1528, 0.4167),
        # Phi is (0 - 97) / sqrt(99 * 1 * 3 * 97) = -0.5715, uncorrected as it is negative; the
        # intervals of the shares are 0.9455 to 0.9982 and 0.0103 to 0.0845.
        ((2, 97, 1, 0), 0.8721, 0.9854),
        # No correlation where one is always right: -1/54 -+ what the two intervals leave.
        ((53, 0, 1, 0), -0.0976, 0.0496),
    ],
)
def test_the_interval_of_a_difference_of_paired_shares_is_that_of_newcombe(
    counts: tuple[int, int, int, int], low: float, high: float
) -> None:
    assert difference_of_shares(*pairs(*counts)) == pytest.approx((low, high), abs=3e-4)


def test_four_items_of_two_hundred_tell_nothing_apart_and_ten_do() -> None:
    assert difference_of_shares(*pairs(196, 4, 0, 0))[0] < 0
    assert difference_of_shares(*pairs(190, 10, 0, 0))[0] > 0


def test_resampled_means_spread_as_the_standard_error_says() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(5, 2, 400)
    found = Resampled.of([first.tolist(), (first + 1).tolist(), rng.normal(5, 2, 400).tolist()])
    error = first.std() / 20
    low, high = found.interval(0)
    assert (low, high) == pytest.approx(
        (first.mean() - 1.96 * error, first.mean() + 1.96 * error), abs=0.02
    )
    # The same items are drawn for all rows: what differs by one on every item differs by one.
    assert found.difference(1, 0) == pytest.approx((1, 1))
    apart = found.difference(2, 0)
    assert apart[1] - apart[0] == pytest.approx(2 * 1.96 * np.sqrt(2) * 2 / 20, rel=0.15)


def test_numbers_of_a_batch_are_drawn_together() -> None:
    alone = Resampled.of([[1.0, 1.0, 3.0, 3.0] * 25])
    batches = Resampled.of([[1.0, 1.0, 3.0, 3.0] * 25], parts=[n // 2 for n in range(100)])
    uneven = Resampled.of([[6.0, 6.0, 6.0, 2.0]], parts=[0, 0, 0, 1])
    assert batches.means == alone.means == [2.0]
    ratio = np.diff(batches.interval(0)) / np.diff(alone.interval(0))
    assert ratio == pytest.approx(np.sqrt(2), rel=0.12), "half as many draws"
    assert set(uneven.drawn[:, 0]) == {6.0, 2.0, 5.0}, "a mean of items, not of batches"


def test_a_front_is_what_no_point_beats() -> None:
    points = [(0.9, 4.0), (0.8, 2.0), (0.85, 4.0), (0.9, 4.0), (0.7, 2.5), (0.95, 9.0)]
    assert front(points) == [1, 0, 5], "by cost, of equals the first"
    assert front([(0.9, 4.0, 1.0), (0.9, 3.0, 2.0)]) == [1, 0], "each is cheaper by one cost"
    assert beats((0.9, 3.0), (0.9, 4.0))
    assert not beats((0.9, 4.0), (0.9, 4.0))


@given(POINTS)
def test_what_is_not_on_a_front_is_beaten_or_equalled_by_what_is(
    points: list[tuple[float, float]],
) -> None:
    kept = front(points)
    assert not any(beats(points[a], points[b]) for a in kept for b in kept)
    for point in points:
        assert any(points[k] == point or beats(points[k], point) for k in kept)


def test_a_long_front_is_thinned_to_both_ends_and_what_is_between() -> None:
    assert thinned([3, 1, 4], 5) == [3, 1, 4]
    assert thinned(list(range(9)), 3) == [0, 4, 8]
    assert thinned([3, 1, 4], 1) == [4]


def test_far_behind_is_what_another_does_as_well_for_half() -> None:
    assert far_behind((0.9, 8.0), [(0.5, 1.0), (0.9, 4.0)])
    assert not far_behind((0.9, 8.0), [(0.89, 1.0), (0.9, 4.1)])


def judged(*found: tuple[str, list[int], list[int], float], batch: int = 20) -> Judged:
    """Rules, how many of 100 items are right, forwards in turn, and seconds."""
    settings = [Setting(rule, rule, (("n", number),)) for number, (rule, *_) in enumerate(found)]
    outcomes = [
        [
            Outcome(
                tuple(number < right[0] for number in range(100)),
                tuple(forwards[number % len(forwards)] for number in range(100)),
                tuple(10 * forwards[number % len(forwards)] for number in range(100)),
                (seconds,) * 100,
            )
        ]
        for _, right, forwards, seconds in found
    ]
    return Judged(settings, outcomes, batch)


def ahead(all_of: Judged) -> dict[tuple[str, str], int | None]:
    """Number of the setting with which the rule is ahead of threshold, by rule and cost."""
    return {
        (one.rule, one.cost): None if one.setting is None else int(one.setting.axes[0][1])
        for one in all_of.ahead()
        if one.baseline == "threshold"
    }


def test_a_rule_is_ahead_if_it_is_surely_cheaper_than_all_that_is_as_right() -> None:
    found = ahead(
        judged(
            ("threshold", [97], [4, 5], 0.01),
            ("threshold", [80], [2, 3], 0.01),
            ("ours", [97], [3, 4], 0.009),
        )
    )
    assert found == {("ours", "forwards"): 2, ("ours", "rows"): 2, ("ours", "ms"): None}


def test_the_slowest_and_the_fastest_rule_are_not_ahead_of_everything() -> None:
    found = ahead(
        judged(
            ("threshold", [80], [4, 5], 0.01),
            ("slow", [99], [30, 31], 0.1),
            ("fast", [20], [1, 1], 0.001),
        )
    )
    assert set(found.values()) == {None}


def test_a_setting_of_the_other_rule_that_is_as_good_is_not_overlooked() -> None:
    found = ahead(
        judged(
            ("threshold", [97], [6, 7], 0.01),
            ("threshold", [96], [3, 4], 0.01),
            ("ours", [97], [3, 4], 0.01),
        )
    )
    assert found["ours", "forwards"] is None, "one answer of 100 tells nothing apart"


def test_wall_times_are_apart_from_a_fifth_on() -> None:
    found = ahead(judged(("threshold", [97], [4], 0.012), ("ours", [97], [4], 0.010)))
    assert found["ours", "ms"] == 1
    near = ahead(judged(("threshold", [97], [4], 0.011), ("ours", [97], [4], 0.010)))
    assert near["ours", "ms"] is None
    few = ahead(judged(("threshold", [97], [4], 0.012), ("ours", [97], [4], 0.010), batch=25))
    assert few["ours", "ms"] is None, "four batches"
    assert found["ours", "forwards"] is None


def test_a_row_has_means_of_all_tasks_and_says_whose_front_it_is_on() -> None:
    first, second = judged(("threshold", [97], [4, 6], 0.01), ("ours", [97], [3, 5], 0.02)).rows()
    assert (first.share, first.items) == (0.97, 100)
    assert first.interval == wilson(97, 100)
    assert first.costs == pytest.approx({"forwards": 5, "rows": 50, "ms": 10})
    assert first.cost_intervals["forwards"] == pytest.approx((4.8, 5.2), abs=0.03)
    assert first.cost_intervals["ms"] == pytest.approx((10, 10)), "no batch took longer"
    assert (first.fronts, second.fronts) == (("ms",), ("forwards", "rows"))


def test_names_are_moved_apart_and_stay_in_order() -> None:
    assert spread([0.1, 0.5, 0.9], 0.05) == pytest.approx([0.1, 0.5, 0.9])
    assert spread([0.5, 0.5, 0.5], 0.1) == pytest.approx([0.5, 0.6, 0.7])
    assert spread([0.95, 0.99, 1.0], 0.1) == pytest.approx([0.8, 0.9, 1.0])
    crowded = spread([0.5] * 30, 0.05)
    assert np.diff(crowded).min() == pytest.approx(0.05), "more than there is room for"
