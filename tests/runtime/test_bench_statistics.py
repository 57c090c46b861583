"""Intervals, quantiles and the order of turns: what all that is timed in turns stands on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawn_runtime.bench.statistics import FEWEST, SURE, Quantiles, interval, rotated


@pytest.mark.parametrize(
    ("number", "bounds"),
    [(1, (0, 0)), (5, (0, 4)), (6, (0, 5)), (8, (0, 7)), (9, (1, 7)), (30, (9, 20))],
)
def test_the_interval_is_that_of_the_sign_test(number: int, bounds: tuple[int, int]) -> None:
    values = np.random.default_rng(0).permutation(number).tolist()
    assert interval(values) == bounds


def test_an_interval_of_the_fewest_turns_holds_the_median_as_often_as_it_says() -> None:
    rng, held = np.random.default_rng(1), 0
    for _ in range(4000):
        low, high = interval(rng.exponential(size=FEWEST).tolist())
        held += low <= np.log(2) <= high
    assert held / 4000 >= SURE
    held = 0
    for _ in range(4000):
        low, high = interval(rng.exponential(size=FEWEST - 1).tolist())
        held += low <= np.log(2) <= high
    assert held / 4000 < SURE


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=40))
def test_the_median_is_inside_its_interval_and_quantiles_are_in_order(values: list[float]) -> None:
    low, high = interval(values)
    found = Quantiles.of(values)
    assert min(values) <= low <= high <= max(values)
    assert low <= found.p50 * (1 + 1e-9)
    assert found.p50 <= high * (1 + 1e-9)
    assert found.p50 <= found.p90 * (1 + 1e-9)
    assert found.p90 <= found.p99 * (1 + 1e-9)


def test_quantiles_by_hand() -> None:
    assert Quantiles.of([4.0]) == Quantiles(4.0, 4.0, 4.0)
    assert Quantiles.of([float(n) for n in range(101)]) == Quantiles(50.0, 90.0, 99.0)
    assert Quantiles.of([1.0, 2.0]).p50 == 1.5


def test_every_turn_begins_with_another_case() -> None:
    assert [rotated(3, number) for number in range(4)] == [
        [0, 1, 2],
        [1, 2, 0],
        [2, 0, 1],
        [0, 1, 2],
    ]
