"""Strata and the rows that are kept of them."""

import numpy as np
import pytest
import torch

from dawn_calibration.ranges.samples import Samples
from dawn_calibration.ranges.strata import Strata
from dawn_runtime import OptionError

SIZE = 3


def passed(steps: int = 20, length: int = 10) -> list[tuple[np.ndarray, torch.Tensor]]:
    """Strata and rows of some steps; every row holds a number of its own."""
    random = np.random.default_rng(5)
    return [
        (random.integers(0, 2, length), torch.arange(length)[:, None] + 100.0 * step)
        for step in range(steps)
    ]


def kept(steps: list[tuple[np.ndarray, torch.Tensor]], samples: Samples, first: int = 0) -> Samples:
    for number, (strata, rows) in enumerate(steps, start=first):
        keep(samples, strata, rows, (7, number))
    return samples


def keep(samples: Samples, strata: np.ndarray, rows: torch.Tensor, seed: tuple[int, ...]) -> None:
    draw = samples.draw(strata, seed)
    samples.keep(draw, {"site": rows[torch.from_numpy(draw.rows)]})


def empty() -> Samples:
    return Samples([("site", 1)], 2, SIZE, torch.device("cpu"))


def test_each_stratum_keeps_the_rows_with_the_smallest_numbers() -> None:
    steps = passed()
    expected: dict[int, list[tuple[float, float]]] = {0: [], 1: []}
    for number, (strata, rows) in enumerate(steps):
        draws = np.random.default_rng((7, number)).random(len(strata))
        for stratum, draw, row in zip(strata.tolist(), draws, rows[:, 0].tolist(), strict=True):
            expected[stratum].append((draw, row))
    samples = kept(steps, empty())
    for stratum, drawn in expected.items():
        own = slice(stratum * SIZE, (stratum + 1) * SIZE)
        best = {row for _, row in sorted(drawn)[:SIZE]}
        assert set(samples.rows["site"][own, 0].tolist()) == best
        assert sorted(samples.keys[own]) == sorted(draw for draw, _ in sorted(drawn)[:SIZE])


def test_slots_stay_empty_until_rows_have_passed() -> None:
    samples = empty()
    keep(samples, np.array([1, 1]), torch.ones(2, 1), (0,))
    assert samples.filled.reshape(2, SIZE).sum(axis=1).tolist() == [0, 2]
    assert samples.rows["site"][torch.from_numpy(samples.filled), 0].tolist() == [1.0, 1.0]


def test_a_draw_changes_nothing_until_its_rows_are_kept() -> None:
    samples = empty()
    first = samples.draw(np.array([0, 1]), (0,))
    assert not samples.filled.any()
    assert samples.draw(np.array([0, 1]), (0,)).keys.tolist() == first.keys.tolist()


def test_a_step_with_more_rows_than_slots_fills_them_all() -> None:
    samples = empty()
    keep(samples, np.zeros(50, dtype=np.int64), torch.ones(50, 1), (0,))
    assert samples.filled.tolist() == [True] * SIZE + [False] * SIZE


def test_the_mask_ratio_of_a_sequence_says_its_bin() -> None:
    strata = Strata(5)
    assert [strata.bin_of(masked, 10) for masked in (10, 9, 8, 3, 2, 1, 0)] == [4, 4, 3, 1, 0, 0, 0]


def test_rows_are_told_apart_by_ratio_and_by_being_masked() -> None:
    strata = Strata(2)
    masked = np.array([False, False, True, True])
    assert strata.of_rows(masked, 2).tolist() == [2, 2, 3, 3]
    assert strata.of_rows(masked, 4).tolist() == [0, 0, 1, 1]
    assert (len(strata), strata.is_masked(3), strata.bounds(3)) == (4, True, (0.5, 1.0))
    assert strata.name(2) == "unmasked 0.5-1.0"


def test_there_is_at_least_one_bin() -> None:
    with pytest.raises(OptionError, match="bins is 0"):
        Strata(0)
