"""DAWN's thresholds of attention, scaled to the length of a row."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawn_runtime import Dawn, OptionError, Pruned, RowView
from dawn_runtime.decoding import CACHES, Unmask
from support.caching import begin_cached
from support.decoding import SCALED, states

MakeView = Callable[..., RowView]
TAUS = st.floats(1e-9, 1.0)
LENGTHS = st.integers(1, 2**20)
NO_SINKS = 1.0
"""No column mean exceeds this."""


@given(tau_sink=TAUS, tau_edge=TAUS, keys=LENGTHS, reference=LENGTHS, exponent=st.floats(0, 1))
def test_without_reference_or_exponent_the_published_thresholds_stand_to_the_last_bit(
    tau_sink: float, tau_edge: float, keys: int, reference: int, exponent: float
) -> None:
    published = Dawn(tau_sink, tau_edge)
    assert published.attention_thresholds(keys) == (tau_sink, tau_edge)
    for change in ({"length_exponent": exponent}, {"reference_length": reference}):
        assert replace(published, **change).attention_thresholds(keys) == (tau_sink, tau_edge)
    whole = replace(published, reference_length=reference, length_exponent=exponent)
    assert whole.attention_thresholds(reference) == (tau_sink, tau_edge)


@pytest.mark.parametrize(
    ("exponent", "keys", "expected"),
    [(1.0, 200, (0.02, 0.05)), (1.0, 25, (0.16, 0.4)), (0.5, 400, (0.02, 0.05))],
)
def test_thresholds_follow_the_length_by_the_exponent(
    exponent: float, keys: int, expected: tuple[float, float]
) -> None:
    policy = Dawn(0.04, 0.1, reference_length=100, length_exponent=exponent)
    assert policy.attention_thresholds(keys) == pytest.approx(expected)


@given(tau=TAUS, reference=st.integers(1, 2**31 - 1), exponent=st.floats(0, 1), keys=LENGTHS)
def test_scaled_thresholds_are_float32_numbers_the_edge_above_zero(
    tau: float, reference: int, exponent: float, keys: int
) -> None:
    policy = Dawn(tau, tau, reference_length=reference, length_exponent=exponent)
    sink, edge = policy.attention_thresholds(keys)
    assert 0 <= sink < np.finfo(np.float32).max
    assert np.float32(edge) > 0
    longer_sink, longer_edge = policy.attention_thresholds(2 * keys)
    assert longer_sink <= sink
    assert longer_edge <= edge


def test_a_scaled_rule_decides_as_one_with_the_scaled_thresholds(random_view: MakeView) -> None:
    rng = np.random.default_rng(4)
    differing = 0
    for _ in range(300):
        view = random_view(rng)
        rule = Dawn(0.2, 0.1, 0.5, 0.3, reference_length=8, length_exponent=1.0)
        sink, edge = rule.attention_thresholds(len(view.masked))
        plain = Dawn(sink, min(edge, 1.0), 0.5, 0.3)
        assert rule.select(view).tolist() == plain.select(view).tolist()
        unscaled = replace(rule, length_exponent=0.0).select(view)
        differing += unscaled.tolist() != plain.select(view).tolist()
    assert differing > 20, "the states must tell a scaled rule from an unscaled one"


def test_the_length_is_the_number_of_keys_looked_at_not_that_of_positions(
    make_view: MakeView,
) -> None:
    """Candidate 2 looks at 1 with 0.3."""
    rule = Dawn(NO_SINKS, 0.8, 0.7, 0.5, reference_length=1, length_exponent=1.0)
    attention = np.zeros((3, 3))
    attention[2, 1] = 0.3
    row: tuple[Any, ...] = ([0.1, 0.8, 0.7], attention, [False, True, True], (1, 3))
    assert rule.select(make_view(*row)).tolist() == [1], "0.8 / 3 is below 0.3, so they conflict"
    seen = np.array([1, 2])  # position 0 is hidden from the row
    hidden = make_view(*row, attention_keys=seen)
    hidden = replace(hidden, attention=hidden.attention[:, seen])
    assert rule.select(hidden).tolist() == [1, 2], "0.8 / 2 is above it"


@pytest.mark.parametrize("name", ["none", "prefix", "dual", "dual:refresh=3"])
def test_the_keys_of_a_step_are_all_visible_positions_whatever_is_cached(name: str) -> None:
    cache, window = CACHES.parse(name), Pruned(block_length=6, near=4)
    scheme = Unmask(SCALED, window, cache)
    steps = 0
    for (row,) in states(begin_cached([[1, 2, 3]], 20, SCALED, cache, window)):
        if not row.finished:
            (ask,) = scheme.ask(row)
            looked_at = [] if row.kept is None else row.kept.positions[ask.kept]
            keys = np.concatenate([looked_at, ask.positions])
            assert sorted(keys.tolist()) == np.flatnonzero(window.visible(row)).tolist()
            steps += 1
    assert steps > 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference_length": -1}, "reference_length is -1; expected an integer from 0 to 21474"),
        ({"reference_length": 1.5}, "reference_length is 1.5; expected an integer"),
        ({"reference_length": 2**31}, "reference_length is 2147483648; expected an integer"),
        ({"length_exponent": 1.1}, "length_exponent is 1.1; expected a number from 0 to 1"),
        ({"length_exponent": float("nan")}, "length_exponent is nan; expected a number"),
    ],
)
def test_bad_option_of_the_scaling_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=f"policy 'dawn': {message}"):
        Dawn(**options)
