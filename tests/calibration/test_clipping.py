"""Histograms of magnitudes, and the ranges that follow from them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dawn_calibration.ranges.clipping import (
    LEVELS,
    Clip,
    clip_error,
    least_error_range,
    percentile_range,
)
from dawn_calibration.ranges.histogram import BINS, edges, even_mixture
from dawn_calibration.ranges.statistics import count_magnitudes
from dawn_runtime import OptionError

FINITE = st.floats(-(2.0**100), 2.0**100, width=32)


def shares(values: list[float]) -> np.ndarray:
    return even_mixture(count_magnitudes(torch.tensor(values)).numpy()[None])


def bin_of(value: float) -> int:
    return int(count_magnitudes(torch.tensor([value])).argmax())


@given(st.lists(FINITE, max_size=50))
def test_every_value_is_counted_once(values: list[float]) -> None:
    assert int(count_magnitudes(torch.tensor(values, dtype=torch.float32)).sum()) == len(values)


@given(st.floats(2**-29, 2**29, width=32), st.booleans())
def test_a_magnitude_lies_within_the_bounds_of_its_bin(value: float, negative: bool) -> None:
    place = bin_of(-value if negative else value)
    assert edges()[place] <= value < edges()[place + 1]


@pytest.mark.parametrize(("value", "place"), [(0.0, 0), (1e-30, 0), (1e30, BINS - 1)])
def test_magnitudes_beyond_the_bins_are_in_the_outermost(value: float, place: int) -> None:
    assert bin_of(value) == place


def test_a_power_of_two_begins_a_bin_and_has_32_of_them() -> None:
    one, two = bin_of(1.0), bin_of(2.0)
    assert (edges()[one], edges()[two], two - one) == (1.0, 2.0, 32)
    assert np.all(np.diff(edges()) > 0)


@given(st.lists(FINITE, max_size=20), st.lists(FINITE, max_size=20))
def test_histograms_of_parts_add_up_to_that_of_the_whole(
    left: list[float], right: list[float]
) -> None:
    parts = [
        count_magnitudes(torch.tensor(values, dtype=torch.float32)) for values in (left, right)
    ]
    whole = count_magnitudes(torch.tensor(left + right, dtype=torch.float32))
    assert torch.equal(parts[0] + parts[1], whole)


def test_strata_count_the_same_whatever_their_size_and_empty_ones_not_at_all() -> None:
    counts = np.zeros((3, BINS), dtype=np.int64)
    counts[0, 5], counts[1, 7] = 1, 99
    mixture = even_mixture(counts)
    assert (mixture[5], mixture[7], mixture.sum()) == (0.5, 0.5, 1.0)


def test_a_percentile_is_the_upper_bound_of_the_bin_that_reaches_it() -> None:
    found = shares([1.0] * 99 + [64.0])
    assert percentile_range(found, 99.0) == edges()[bin_of(1.0) + 1]
    assert percentile_range(found, 99.5) == edges()[bin_of(64.0) + 1]


def test_the_error_of_values_between_integers_is_that_of_rounding() -> None:
    # Far above a step and below the clip, values cost step^2 / 12 whatever they are.
    clip = 127.0
    assert clip_error(shares([50.0, 100.0]), clip) == pytest.approx(1 / 12)


def test_the_error_of_a_clipped_value_is_what_is_cut_off() -> None:
    middle = (edges()[bin_of(8.0)] + edges()[bin_of(8.0) + 1]) / 2
    assert clip_error(shares([8.0]), 2.0) == pytest.approx((middle - 2.0) ** 2)


def test_the_error_of_a_value_that_becomes_zero_is_all_of_it() -> None:
    middle = (edges()[bin_of(0.01)] + edges()[bin_of(0.01) + 1]) / 2
    assert clip_error(shares([0.01]), 127.0) == pytest.approx(middle**2)


def test_a_rare_outlier_is_clipped_where_rounding_and_cutting_off_weigh_the_same() -> None:
    # c^2 / (12 * 127^2) + w (v - c)^2 is least at c = v w / (w + 1 / (12 * 127^2)).
    rare, place = 1e-6, bin_of(40.0)
    mixture = shares([1.0]) * (1 - rare)
    mixture[place] = rare
    middle = (edges()[place] + edges()[place + 1]) / 2
    expected = middle * rare / (rare + 1 / (12 * LEVELS**2))
    assert least_error_range(mixture, 40.0) == pytest.approx(expected, rel=0.03)


def test_evenly_spread_values_are_not_clipped() -> None:
    assert least_error_range(shares([0.01 * i for i in range(1, 101)]), 1.0) > 0.97


@given(
    st.lists(st.floats(2**-20, 2**20, width=32), min_size=1, max_size=60),
    st.sampled_from(["max", "percentile", "mse"]),
)
def test_a_range_is_positive_and_never_above_the_largest_value(
    values: list[float], rule: str
) -> None:
    largest = max(values)
    assert 0 < Clip(rule).range_of(shares(values), largest) <= largest


@given(st.lists(st.floats(2**-10, 2**10, width=32), min_size=1, max_size=60))
def test_the_least_error_is_not_above_that_of_clipping_nothing(values: list[float]) -> None:
    found, largest = shares(values), max(values)
    best = least_error_range(found, largest)
    assert clip_error(found, best) <= clip_error(found, largest)


def test_a_higher_percentile_never_gives_a_smaller_range() -> None:
    found = shares(np.random.default_rng(0).exponential(size=500).tolist())
    ranges = [percentile_range(found, percent) for percent in (50, 90, 99, 99.9, 100)]
    assert ranges == sorted(ranges)


def test_an_input_that_is_always_zero_still_has_a_range() -> None:
    assert Clip().range_of(shares([0.0]), 0.0) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("median",), "rule is 'median'"), (("percentile", 101.0), "percentile is 101.0")],
)
def test_a_clip_says_what_is_wrong_with_it(arguments: tuple[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Clip(*arguments)


def test_levels_are_those_of_symmetric_int8() -> None:
    assert LEVELS == 2**7 - 1
