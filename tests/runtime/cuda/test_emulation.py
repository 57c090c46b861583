"""Kernels on as many threads as on a GPU, under sanitizers, against the rules in NumPy."""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from dawn_runtime import Dawn
from dawn_runtime.cuda.kernels import source
from support.choosing import Case, assert_same, random_policy
from support.emulated_device import EmulatedDevice, EmulationError, build_emulator
from support.twins import come_and_go

Build = Callable[[str], Path]

EAGER = {"tau_sink": 1.0, "tau_low": 0.0, "tau_high": 0.85, "tau_anchor": 0.9}
"""Thresholds with which many candidates are open and in conflict."""

FEW, ROUNDS, PATIENT = 8, 4, 60
"""Threads with which a race is looked for, and how often: where there is none, and where there is
one. That is found in one round or two if the threads run at the same time, on a busy machine later.
"""

BARRIERS = source("choose").count(b"__syncthreads()")


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Name of a sanitizer -> the program, compiled when it is first asked for."""
    folder = tmp_path_factory.mktemp("emulator")
    return cache(lambda sanitizer: build_emulator(folder, sanitizer))


@pytest.mark.parametrize(
    ("sanitizer", "threads", "cases"),
    [
        ("none", 32, 6),
        ("none", 48, 3),  # the last team is not whole
        ("none", 256, 2),
        ("thread", 32, 4),
        ("thread", 256, 1),
        ("address", 32, 4),
        ("address", 256, 1),
    ],
)
def test_any_number_of_threads_chooses_what_numpy_chooses(
    sanitizer: str, threads: int, cases: int, build: Build
) -> None:
    rng = np.random.default_rng(threads)
    with closing(EmulatedDevice(build(sanitizer), threads)) as device:
        assert device.barriers == BARRIERS
        for number in range(cases):
            device.reset()
            policies = [random_policy(rng) for _ in range(2)]
            assert_same(Case(rng, 40, 2, *policies, early=number % 2 == 0), device)


@pytest.mark.parametrize(
    ("sanitizer", "threads", "steps"),
    [("none", 64, 4), ("thread", 32, 4), ("thread", 256, 1), ("address", 32, 4)],
)
def test_any_number_of_threads_moves_keys_as_numpy_does(
    sanitizer: str, threads: int, steps: int, build: Build
) -> None:
    with closing(EmulatedDevice(build(sanitizer), threads)) as device:
        come_and_go(device, threads, steps)


def cases_for_every_barrier(rng: np.random.Generator) -> Iterator[tuple[Case, bool]]:
    """Runs that together read all that is written before a barrier, and whether each is finite."""
    changes: list[dict[str, float]] = [
        {"tau_edge": 0.05, "tau_induce": 1.0},
        {"tau_edge": 0.05, "tau_induce": 1.0, "tau_low": 1.0, "tau_high": 1.0},
        {"tau_edge": 0.03, "tau_induce": 0.3, "tau_anchor": 0.3},
    ]
    for change in changes:
        case = Case(rng, 40, 2, Dawn(**{**EAGER, **change}), early=True)  # type: ignore[arg-type]
        case.confidence = np.minimum(case.confidence, np.float32(0.95))  # at times none is sure
        yield case, True
    spoilt = Case(rng, 40, 2, Dawn(**EAGER), early=True)  # type: ignore[arg-type]
    for place in range(2):  # where one thread alone looks, and not the first
        columns = spoilt.columns(place)
        spoilt.attention[place, 0, columns[columns % FEW == 1][0]] = np.nan
    yield spoilt, False


def try_every_barrier(device: EmulatedDevice, rounds: int = PATIENT) -> None:
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        for case, finite in cases_for_every_barrier(rng):
            device.reset()
            if finite:
                assert_same(case, device)
            else:
                assert not case.run(device).finite


def test_with_all_barriers_nothing_is_found(build: Build) -> None:
    with closing(EmulatedDevice(build("thread"), FEW)) as device:
        try_every_barrier(device, ROUNDS)


@pytest.mark.parametrize("barrier", range(BARRIERS))
def test_a_barrier_that_is_left_out_is_found(barrier: int, build: Build) -> None:
    device = EmulatedDevice(build("thread"), FEW, left_out=barrier, patience=20)
    with pytest.raises(AssertionError), closing(device):
        try_every_barrier(device)


@pytest.mark.parametrize(
    ("sanitizer", "change", "finding"),
    [
        (
            "address",
            ("for (int key = threadIdx.x; key < size;", "key <= size;"),
            "use-after-poison",
        ),
        ("thread", ("atomicAdd(&chosen, 1)", "++chosen"), "data race"),
        ("none", ("if (!view[OWN_MEANS]) {", "if (threadIdx.x) __syncthreads(); {"), "barriers"),
    ],
    ids=["beyond the end", "not atomic", "not all of them"],
)
def test_what_no_kernel_may_do_is_found(
    sanitizer: str,
    change: tuple[str, str],
    finding: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spoilt(name: str) -> bytes:
        text = source(name).decode()
        before, after = change
        return text.replace(before, before.rpartition("key <")[0] + after).encode()

    monkeypatch.setattr("support.emulated_device.source", spoilt)
    device = EmulatedDevice(build_emulator(tmp_path, sanitizer), FEW)
    with pytest.raises(EmulationError, match=finding), closing(device):
        try_every_barrier(device)
