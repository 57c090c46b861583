"""SmoothQuant: the network stays what it is, and its products lose less in INT8."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_calibration.checkpoints import load_model, open_checkpoint
from dawn_calibration.ranges.clipping import CLIPS, Clip
from dawn_calibration.ranges.sites import sites_of
from dawn_calibration.ranges.smoothing import (
    STRENGTHS,
    Inputs,
    fold,
    round_trip,
    search,
    vector_of,
)
from support.checkpoints import write_checkpoint
from support.families import MIXED, registered, write_sample

MAX = Clip("max")


def outlying(channels: int = 8, rows: int = 64) -> torch.Tensor:
    """Inputs one channel of which is a hundred times the others."""
    values = torch.randn(rows, channels, generator=torch.Generator().manual_seed(0))
    values[:, 3] *= 100
    return values


def inputs(rows: torch.Tensor) -> Inputs:
    """All rows sampled, of two strata in turn."""
    return Inputs(rows, np.arange(len(rows)) % 2, rows.abs().amax(dim=0))


def weights(outputs: int = 6, channels: int = 8) -> torch.Tensor:
    return torch.randn(outputs, channels, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", ["dream", "llada"])
def test_a_folded_network_computes_the_same(tmp_path: Path, family: str) -> None:
    checkpoint = open_checkpoint(write_checkpoint(tmp_path / "checkpoint", family))
    model, sites = load_model(checkpoint), sites_of(checkpoint.config)
    ids = torch.arange(12)[None]
    before = model(ids)
    random = torch.Generator().manual_seed(2)
    vectors = {
        site.name: (0.1 + 5 * torch.rand(site.width, generator=random)).tolist()
        for site in sites
        if site.smoothed
    }
    assert len(vectors) == 2 * checkpoint.config.num_layers
    norm = model.get_parameter("layers.0.mlp_norm.weight").clone()
    fold(model, vectors, sites)
    assert not torch.allclose(model.get_parameter("layers.0.mlp_norm.weight"), norm)
    torch.testing.assert_close(model(ids), before, rtol=1e-3, atol=1e-4)


def test_a_folded_network_with_norms_of_queries_and_keys_computes_the_same(tmp_path: Path) -> None:
    with registered():
        checkpoint = open_checkpoint(write_sample(tmp_path / "checkpoint", MIXED))
    model, sites = load_model(checkpoint), sites_of(checkpoint.config)
    before = model(torch.arange(12)[None])
    kept = {name: p.clone() for name, p in model.named_parameters() if "q_norm" in name}
    vectors = {s.name: (0.2 + torch.rand(s.width)).tolist() for s in sites if s.smoothed}
    fold(model, vectors, sites)
    torch.testing.assert_close(model(torch.arange(12)[None]), before, rtol=1e-3, atol=1e-4)
    assert all(torch.equal(model.get_parameter(name), values) for name, values in kept.items())


@given(st.sampled_from(STRENGTHS))
def test_a_vector_is_positive_with_a_geometric_mean_of_one(strength: float) -> None:
    vector = vector_of(outlying().abs().amax(dim=0), weights(), strength)
    assert bool((vector > 0).all())
    assert float(vector.log().mean()) == pytest.approx(0, abs=1e-5)


def test_a_strength_of_one_makes_all_channels_alike() -> None:
    largest = torch.tensor([1.0, 4.0, 16.0])
    smooth = largest / vector_of(largest, torch.ones(2, 3), 1.0)
    torch.testing.assert_close(smooth, torch.full((3,), 4.0))


def test_half_a_strength_is_the_square_root_of_activations_over_weights() -> None:
    largest, columns = torch.tensor([4.0, 1.0]), torch.tensor([[1.0, 4.0]])
    # s = sqrt(a / w) is (2, 0.5), of which the geometric mean is 1 already.
    torch.testing.assert_close(vector_of(largest, columns, 0.5), torch.tensor([2.0, 0.5]))


def test_an_outlying_channel_is_smoothed_to_a_fraction_of_the_error() -> None:
    rows = outlying()
    found = search(inputs(rows), [weights()[:4], weights()[4:]], MAX)
    assert found.strength is not None
    assert found.error < found.plain_error / 5


@given(st.integers(0, 1000), st.sampled_from(CLIPS))
@settings(max_examples=30)
def test_the_search_never_chooses_worse_than_no_smoothing(seed: int, rule: str) -> None:
    clip = Clip(rule)
    rows = torch.randn(16, 8, generator=torch.Generator().manual_seed(seed))
    found = search(inputs(rows), [weights()], clip)
    assert found.error <= found.plain_error


@pytest.mark.parametrize("clip", [Clip(rule) for rule in CLIPS], ids=lambda clip: clip.rule)
def test_channels_that_are_never_active_get_a_finite_vector(clip: Clip) -> None:
    rows = outlying()
    rows[:, 5] = 0
    found = search(inputs(rows), [weights()], clip)
    assert all(0 < value < float("inf") for value in found.vector)
    silent = search(inputs(torch.zeros(4, 8)), [weights()], clip)
    assert (silent.strength, silent.vector) == (None, (1.0,) * 8)


@given(st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=20))
def test_a_round_trip_is_off_by_half_a_step_at_most(values: list[float]) -> None:
    tensor, largest = torch.tensor(values), torch.tensor(8.0)
    assert float((round_trip(tensor, largest) - tensor).abs().max()) <= 8 / 127 / 2 + 1e-5


def test_a_round_trip_clips_at_the_range_and_keeps_its_ends() -> None:
    found = round_trip(torch.tensor([-9.0, -2.0, 0.0, 2.0, 9.0]), torch.tensor(2.0))
    torch.testing.assert_close(found, torch.tensor([-2.0, -2.0, 0.0, 2.0, 2.0]))


def test_a_range_is_that_of_the_clip_with_every_stratum_counting_the_same() -> None:
    rows = torch.tensor([[1.0]] + [[64.0]] * 99)
    strata = np.array([0] + [1] * 99)
    found = Inputs(rows, strata, rows.amax(dim=0))
    # Half of the mixture is at 1, which ends a bin of a 32nd.
    assert found.range_of(Clip("percentile", 50)) == 1 + 1 / 32
    assert found.range_of(Clip("percentile", 51)) == 64
    assert found.smoothed(torch.tensor([4.0])).range_of(Clip("percentile", 50)) == 0.25 + 1 / 128


def test_without_clipping_a_range_is_that_of_all_inputs_not_of_the_sample() -> None:
    found = Inputs(torch.ones(4, 2), np.zeros(4, dtype=np.int64), torch.tensor([8.0, 6.0]))
    assert found.range_of(MAX) == 8
    assert found.smoothed(torch.tensor([4.0, 1.0])).range_of(MAX) == 6


def test_the_search_judges_strengths_with_the_range_of_the_clip() -> None:
    """One channel of eight holds the outliers: the lower 85 % of the magnitudes are without it."""
    rows = inputs(outlying())
    cut, whole = (search(rows, [weights()], clip) for clip in (Clip("percentile", 85), MAX))
    assert cut.plain_error > 0.5, "without smoothing such a clip cuts the outliers off"
    assert whole.plain_error < 0.05
    vector = torch.tensor(cut.vector)
    smooth, scaled = rows.rows / vector, weights() * vector
    kept = torch.tensor(rows.smoothed(vector).range_of(Clip("percentile", 85)))
    rough = round_trip(smooth, kept) @ round_trip(scaled, scaled.abs().amax(dim=1, keepdim=True)).T
    exact = rows.rows @ weights().T
    expected = float((rough - exact).square().sum() / exact.square().sum())
    assert cut.error == pytest.approx(expected, rel=1e-4)
