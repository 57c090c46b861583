"""The kernels of `decide.cu`, as plain C++ and on a GPU, against the rules in NumPy."""

import ctypes
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import Dawn, Policy, Threshold
from dawn_runtime.cuda import Device
from dawn_runtime.cuda.selection import STUCK, Selection, SelectionRule, Span
from dawn_runtime.decoding import RowState
from dawn_runtime.decoding.rails import choose
from dawn_runtime.engine.device import DeviceOutputs
from dawn_runtime.policies import RowView
from support.host_device import HostDevice, get, put

MASK, FILLER = 60, 0
LONG = Dawn(0.02, 0.1, 0.3, 0.1, reference_length=70, length_exponent=1.0)
"""At 700 tokens a tenth of these thresholds."""


def random_policy(rng: np.random.Generator) -> Policy:
    if rng.random() < 0.15:
        return Threshold(float(rng.choice([0.3, 0.6, 0.9])))
    sink = rng.choice([0.03, 0.06, 8 / 256, 0.2, 1.0])
    edge = rng.choice([0.02, 0.05, 12 / 256, 0.1, 0.3])
    floors = {n: float(rng.integers(0, 21) / 20) for n in ("tau_induce", "tau_low", "tau_anchor")}
    rest: dict[str, Any] = {
        "adjacency": str(rng.choice(["both", "union"])),
        "reference_length": int(rng.choice([0, 8, 10, 40])),
        "length_exponent": float(rng.choice([0.0, 0.5, 1.0])),
    }
    return Dawn(float(sink), float(edge), tau_high=0.85, **floors, **rest)


class State:
    """A batch of random rows in the middle of an answer, with random evidence."""

    def __init__(self, rng: np.random.Generator, longest: int, batch: int, policy: Policy) -> None:
        self.policy = policy
        self.shift = int(rng.integers(0, 2))
        lengths = rng.integers(2, longest + 1, batch)
        self.size = int(lengths.max())
        self.rows, self.spans = [], []
        for index, length in enumerate(lengths.tolist()):
            ids = rng.integers(1, 50, length)
            start = int(rng.integers(0, length))
            ids[start:][rng.random(length - start) < rng.choice([0.2, 0.7, 1.0])] = MASK
            begin = int(rng.integers(start, length))
            ids[begin] = MASK
            end = int(rng.integers(begin + 1, length + 1))
            self.rows.append(RowState.fill(ids, start, MASK, (7, 8)))
            self.spans.append(Span(index, length, start, begin, end))
        self.firsts = [0 if isinstance(policy, Dawn) else span.begin for span in self.spans]
        width = max(s.end - f for s, f in zip(self.spans, self.firsts, strict=True))
        self.tokens = rng.integers(1, 50, (batch, width))
        self.tokens[rng.random((batch, width)) < rng.choice([0.05, 0.6])] = MASK
        # Few distinct values, so that equal confidences occur, and values at the thresholds.
        self.confidence = (rng.integers(0, 21, (batch, width)) / 20).astype(np.float32)
        weights = rng.random((batch, self.size, self.size)) ** rng.integers(1, 30)
        visible = np.arange(self.size) < lengths[:, None, None]
        weights = np.where(visible, weights + 1e-9, 0)
        weights /= weights.sum(axis=2, keepdims=True)
        if rng.random() < 0.5:  # few distinct values, so that some lie at the thresholds
            weights = np.where(visible, rng.integers(0, 17, weights.shape) / 256, 0)
        self.attention = weights.astype(np.float32)

    def expected(self, index: int) -> RowState | None:
        """The row after the step, by the rules in NumPy; None if it is stuck."""
        row, span, first = self.rows[index], self.spans[index], self.firsts[index]
        positions = np.arange(row.length)
        tokens, confidence = np.full(row.length, -1), np.full(row.length, np.nan, np.float32)
        tokens[first : span.end] = self.tokens[index, : span.end - first]
        confidence[first : span.end] = self.confidence[index, : span.end - first]
        confidence[row.masked & (tokens == MASK)] = 0
        candidates = span.begin + np.flatnonzero(row.masked[span.begin : span.end])
        view = RowView(
            candidates=candidates,
            masked=row.masked,
            window=(span.begin, span.end),
            tokens=tokens,
            confidence=confidence,
            attention=self.attention[index, : row.length, : row.length],
            attention_rows=positions,
            attention_keys=positions,
            step=0,
            predicted=positions[first : span.end],
        )
        if (tokens[candidates] == MASK).all():
            return None
        chosen = choose(self.policy, view, MASK)
        return row.commit(chosen, tokens[chosen], confidence[chosen])

    def selection(self, device: Device) -> Selection:
        shape = (len(self.rows), self.size)
        ids, masked = np.full(shape, FILLER), np.zeros(shape, dtype=bool)
        for index, row in enumerate(self.rows):
            ids[index, : row.length], masked[index, : row.length] = row.ids, row.masked
        rule = SelectionRule.of(self.policy)
        assert rule is not None
        names = {"mask_id": MASK, "filler_id": FILLER, "shift": self.shift}
        return Selection(device, rule, ids, masked, (7, 8), **names)

    def outputs(self, device: Device) -> DeviceOutputs:
        arrays = (self.tokens, self.confidence, self.attention)
        return DeviceOutputs(*(put(device, array) for array in arrays))


def assert_same(state: State, device: Device) -> None:
    selection = state.selection(device)
    step = selection.lay_out(state.spans)
    selection.decide(state.outputs(device))
    statuses = selection.read_status()
    ids, steps, confidence = selection.read_rows()
    fed = get(device, step.input_ids)
    for index, (row, status) in enumerate(zip(state.rows, statuses, strict=True)):
        expected, here = state.expected(index), slice(row.length)
        after = expected or row
        np.testing.assert_array_equal(ids[index, here], after.ids)
        np.testing.assert_array_equal(fed[index, here], after.ids)
        np.testing.assert_array_equal(steps[index, here], after.commit_step)
        np.testing.assert_array_equal(confidence[index, here], after.commit_confidence)
        assert status.fault == (STUCK if expected is None else 0)
        if expected is not None:
            assert (status.settled, status.known) == (after.settled, after.known)
            assert status.end == (row.length if after.end is None else after.end)
        assert MASK not in ids[index, here][steps[index, here] >= 0]
        assert (ids[index, row.length :] == FILLER).all()


@pytest.mark.parametrize("seed", range(24))
def test_kernels_choose_what_the_rules_in_numpy_choose(seed: int, any_device: Device) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(100):
        longest, batch = int(rng.choice([4, 12, 40])), int(rng.integers(1, 4))
        assert_same(State(rng, longest, batch, random_policy(rng)), any_device)


@pytest.mark.parametrize("threads", [2, 7])
def test_threads_side_by_side_choose_what_one_chooses(
    threads: int, host_libraries: dict[str, ctypes.CDLL]
) -> None:
    rng, device = np.random.default_rng(threads), HostDevice(host_libraries, threads)
    for _ in range(60):
        assert_same(State(rng, 40, 2, random_policy(rng)), device)


def test_kernels_choose_the_same_in_long_rows(any_device: Device) -> None:
    rng = np.random.default_rng(99)
    for policy in (Dawn(), Dawn(0.002, 0.004, 0.3, 0.2), Dawn(0.002, 0.01, 0.3, 0.1), LONG):
        assert_same(State(rng, 700, 2, policy), any_device)


@settings(max_examples=200)
@given(rows=st.integers(1, 400), seed=st.integers(0, 10**6))
def test_numpy_sums_columns_in_the_order_of_the_rows(rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    attention = rng.random((rows, 5)).astype(np.float32) ** 4
    expected = np.zeros(5, dtype=np.float32)
    for row in attention:
        expected += row
    np.testing.assert_array_equal(np.add.reduce(attention, axis=0), expected)
    wider = np.zeros((rows, 9), dtype=np.float32)
    wider[:, :5] = attention
    np.testing.assert_array_equal(np.add.reduce(wider[:, :5], axis=0), expected)


@pytest.mark.parametrize(("array", "fault"), [("confidence", 1), ("attention", 2)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nothing_is_decided_on_nan_or_infinity(
    array: str, fault: int, value: float, host: HostDevice
) -> None:
    state = State(np.random.default_rng(3), 12, 2, Dawn())
    spoilt = getattr(state, array)
    spoilt[(1,) + (0,) * (spoilt.ndim - 1)] = value
    selection = state.selection(host)
    selection.lay_out(state.spans)
    selection.decide(state.outputs(host))
    assert [status.fault for status in selection.read_status()] == [0, fault]
    ids, steps, _ = selection.read_rows()
    assert (steps == -1).all(), "no other row is committed either"
    for row, there in zip(state.rows, ids, strict=True):
        np.testing.assert_array_equal(there[: row.length], row.ids)


def test_padding_may_hold_anything(host: HostDevice) -> None:
    rng = np.random.default_rng(5)
    state = State(rng, 40, 3, Dawn())
    for index, row in enumerate(state.rows):
        state.attention[index, row.length :] = rng.random()
        state.attention[index, :, row.length :] = 1.0
        width = state.spans[index].end - state.firsts[index]
        state.confidence[index, width:] = 1.0
    assert_same(state, host)


def test_inputs_are_those_of_the_packer(host: HostDevice) -> None:
    from dawn_runtime.decoding import NoCache, Packer, Single, make_plan

    for seed, policy in enumerate([Dawn(), Threshold()]):
        state = State(np.random.default_rng(seed), 20, 3, policy)
        rows = [
            replace(row, start=span.begin)
            for row, span in zip(state.rows, state.spans, strict=True)
        ]
        plans = [make_plan(row, Single(), NoCache(), policy.needs, state.shift) for row in rows]
        expected = Packer(state.shift, MASK, FILLER).pack(rows, plans)
        spans = [replace(span, end=span.length) for span in state.spans]
        step = state.selection(host).lay_out(spans)
        for name in ("input_ids", "position_ids", "attention_mask", "attention_rows"):
            np.testing.assert_array_equal(get(host, getattr(step, name)), getattr(expected, name))
        found = get(host, step.logit_rows)
        for index, plan in enumerate(plans):
            wanted = np.maximum(plan.predicted - state.shift, 0)
            first = 0 if isinstance(policy, Dawn) else spans[index].begin
            np.testing.assert_array_equal(found[index, plan.predicted - first], wanted)


def test_launches_after_the_first_step_are_two_and_one_small_copy(host: HostDevice) -> None:
    state = State(np.random.default_rng(8), 30, 2, Dawn())
    selection = state.selection(host)
    selection.lay_out(state.spans)
    host.launched.clear()
    host.copies.clear()
    selection.decide(state.outputs(host))
    assert host.launched == ["find_sinks", "decide"]
    assert host.copies == [2 * 4 * 4]


def test_other_policies_have_no_kernel() -> None:
    from dawn_runtime import Dapd

    assert SelectionRule.of(Dapd()) is None
