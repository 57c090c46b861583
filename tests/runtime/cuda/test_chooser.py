"""The kernels of `choose.cu`, as plain C++ and on a GPU, against the rules in NumPy."""

import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dawn_runtime import Dapd, Dawn, LocalLeap, Threshold
from dawn_runtime.cuda import Device
from dawn_runtime.cuda.kernels import source
from dawn_runtime.policies import Kernel, RowView
from support.choosing import LONG, Case, assert_same, random_policy
from support.host_device import HostDevice


@pytest.mark.parametrize("seed", range(24))
def test_kernels_choose_what_the_rules_in_numpy_choose(seed: int, any_device: Device) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(60):
        longest, batch = int(rng.choice([4, 12, 40])), int(rng.integers(1, 4))
        policies = [random_policy(rng) for _ in range(batch)]
        assert_same(Case(rng, longest, batch, *policies), any_device)


@pytest.mark.parametrize("seed", range(6))
def test_they_do_where_nothing_is_decided_yet(seed: int, any_device: Device) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(20):
        policies = [random_policy(rng) for _ in range(3)]
        assert_same(Case(rng, 40, 3, *policies, early=True), any_device)


def test_graphs_with_and_without_an_edge_are_both_among_them(host: HostDevice) -> None:
    rng = np.random.default_rng(5)
    found = [Case(rng, 6, 1, random_policy(rng)).run(host).read()[0] for _ in range(100)]
    assert {one.linked for one in found if one is not None} == {False, True}


def test_rows_that_are_decided_elsewhere_are_left_out(host: HostDevice) -> None:
    rng = np.random.default_rng(1)
    case = Case(rng, 20, 4, Dapd(), Dawn(), LocalLeap(), Threshold())
    found = case.run(host).read()
    assert [one is None for one in found] == [True, False, True, False]
    assert_same(case, host)


def test_kernels_choose_the_same_in_long_rows(any_device: Device) -> None:
    rng = np.random.default_rng(99)
    for policy in (Dawn(), Dawn(0.002, 0.004, 0.3, 0.2), Dawn(0.002, 0.01, 0.3, 0.1), LONG):
        assert_same(Case(rng, 700, 2, policy), any_device)


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


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("seed", range(12))
def test_attention_that_a_rule_reads_must_be_finite(
    seed: int, value: float, host: HostDevice
) -> None:
    rng = np.random.default_rng(seed)
    case = Case(rng, 12, 2, Dawn())
    query = int(rng.integers(0, len(case.asks[1].evidence)))
    case.attention[1, query, rng.choice(case.columns(1))] = value
    assert not case.run(host).finite


def test_a_step_sends_and_fetches_one_piece_each(host: HostDevice) -> None:
    case = Case(np.random.default_rng(8), 30, 2, Threshold())
    host.launched.clear()
    host.copies.clear()
    case.run(host)
    assert host.launched == ["choose"]
    most = max(
        len(scheme.kernel_view(row, ask).predictions)
        for scheme, row, ask in zip(case.schemes, case.rows, case.asks, strict=True)
    )  # type: ignore[union-attr]
    assert host.copies == [2 * 4 * (1 + most)]


def test_a_policy_says_itself_whether_it_has_a_kernel() -> None:
    assert Threshold(0.5).kernel(9) == Kernel(0.5)
    scaled = replace(LONG, reference_length=100).kernel(50)
    assert (scaled.tau_sink, scaled.tau_edge, scaled.tau_high) == (0.04, 0.2, 0.9)
    assert Dapd().kernel(9) is None


def test_a_subclass_that_chooses_otherwise_has_no_kernel_unless_it_names_one() -> None:
    @dataclass(frozen=True, slots=True)
    class Fewest(Threshold):
        def select(self, view: RowView) -> NDArray[np.int64]:
            return view.most_confident()

    @dataclass(frozen=True, slots=True)
    class Named(Fewest):
        def kernel(self, keys: int) -> Kernel:
            return Kernel(tau_high=2.0)

    @dataclass(frozen=True, slots=True)
    class Kept(Dawn):
        extra: int = 0

    assert Fewest(0.5).kernel(9) is None
    assert Named(0.5).kernel(9) == Kernel(2.0)
    assert Kept().kernel(9) == Dawn().kernel(9)


def instructions(file: str) -> dict[str, str]:
    """What NVRTC makes of every kernel of a file, before it is for one GPU."""
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc")
    _, program = nvrtc.nvrtcCreateProgram(source(file), b"kernels.cu", 0, [], [])
    options = [b"--gpu-architecture=compute_90", b"--std=c++17", b"--fmad=false"]
    assert nvrtc.nvrtcCompileProgram(program, len(options), options)[0] == 0
    _, size = nvrtc.nvrtcGetPTXSize(program)
    text = b" " * size
    nvrtc.nvrtcGetPTX(program, text)
    nvrtc.nvrtcDestroyProgram(program)
    parts = re.split(r"\.visible \.entry (\w+)", text.decode())[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_a_column_is_asked_for_many_rows_at_a_time_and_nothing_is_divided_to_find_a_pair() -> None:
    kernels = instructions("choose")
    straight = re.split(r"\bbra\b|^\$\w+:", kernels["key_means"], flags=re.MULTILINE)
    assert max(len(re.findall(r"ld\.global\S*\.f32", part)) for part in straight) >= 16
    assert not re.findall(r"(?:div|rem)\.[su]64", "".join(kernels.values()))
