"""`dawn-calibrate compare`: measures with known answers, and an artifact beside itself."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawn_calibration.cli import main
from dawn_calibration.compare.comparison import check_same_model
from dawn_calibration.compare.measures import (
    Compared,
    compare,
    confidence_thresholds,
    joined,
    summarise,
)
from dawn_calibration.compare.rank import ranks, spearman
from dawn_calibration.compare.replay import Decision, PairedEngine, Replay
from dawn_calibration.errors import MismatchError
from dawn_runtime import (
    Blocks,
    Dawn,
    Decoder,
    Klass,
    OnePerStep,
    OptionError,
    Policy,
    Rpd,
    Threshold,
)
from dawn_runtime.engine.fake import FakeEngine, HashModel, fake_manifest

MANIFEST = fake_manifest(vocab_size=32, max_length=96)
DAWN = Dawn(tau_sink=0.5, tau_edge=0.03, tau_induce=0.3, tau_low=0.2)
NUMBERS = st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=12)


def engine(seed: int) -> FakeEngine:
    return FakeEngine(MANIFEST, HashModel(32, seed))


def decisions(left: int, right: int, policy: Policy = DAWN) -> list[Decision]:
    """All decisions on one prompt, by two fake models."""
    replay = Replay(PairedEngine(engine(left), engine(right)), MANIFEST, policy, Blocks(8))
    return list(replay.decisions(np.array([3, 1, 4]), 24))


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    assert ranks(np.array([3.0, 1.0, 3.0, 7.0])).tolist() == [1.5, 0.0, 1.5, 3.0]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 40], 1.0),
        ([1, 2, 3, 4], [9, 7, 5, 3], -1.0),
        # Ranks 0 1 2 3 4 and 1 0 3 2 4: 1 - 6 * 4 / (5 * 24).
        ([1, 2, 3, 4, 5], [2, 1, 4, 3, 5], 0.8),
        # Ranks 0 1.5 1.5 3 and 0 1 2 3, whose deviations have the products 4.5, 5 and 4.5.
        ([1, 2, 2, 3], [1, 2, 3, 4], 4.5 / np.sqrt(4.5 * 5)),
    ],
)
def test_spearman_is_that_of_textbooks_ties_included(
    left: list[float], right: list[float], expected: float
) -> None:
    found = spearman(np.array(left, np.float32), np.array(right, np.float32))
    assert found == pytest.approx(expected)


def test_a_constant_row_has_no_order_to_compare() -> None:
    assert spearman(np.ones(3, np.float32), np.arange(3, dtype=np.float32)) is None


@given(NUMBERS, st.randoms())
def test_spearman_is_symmetric_and_blind_to_scale(values: list[float], random: Any) -> None:
    other = random.sample(values, len(values))
    left, right = (np.array(row, dtype=np.float32) for row in (values, other))
    found = spearman(left, right)
    assert found == spearman(right, left)
    assert found == spearman(np.exp(left), right * 3 - 1)
    assert found is None or -1.0000001 <= found <= 1.0000001


@pytest.mark.parametrize("policy", [DAWN, Threshold(0.6), OnePerStep("margin"), Rpd(0.6)])
def test_a_model_beside_itself_decides_alike(policy: Policy) -> None:
    found = summarise([compare(d) for d in decisions(1, 1, policy)], confidence_thresholds(policy))
    assert (found.frontier_agreement, found.candidate_agreement, found.flips) == (1.0, 1.0, 0.0)
    assert (found.mean_absolute_drift, found.large_drift) == (0.0, 0.0)
    assert found.crossed in (0.0, None)
    if policy is DAWN:
        assert found.evidence_correlation == pytest.approx(1.0)
        assert found.lowest_correlation == pytest.approx(1.0)
    else:
        assert found.evidence_correlation is None


def test_the_states_are_those_that_the_first_model_meets_alone() -> None:
    alone = Decoder(MANIFEST, engine(1)).generate(
        input_ids=[3, 1, 4], policy=DAWN, max_new_tokens=24, block_length=8, fallback_length=0
    )
    found = decisions(1, 2)
    assert len(found) == alone.forwards
    committed = [d.left.candidates[d.left_chosen].tolist() for d in found]
    expected: list[list[int]] = [[] for _ in found]
    for commit in alone.trace:
        expected[commit.step].append(commit.position)
    assert committed == expected


def test_another_model_decides_otherwise() -> None:
    found = summarise([compare(d) for d in decisions(1, 2)], confidence_thresholds(DAWN))
    assert found.frontier_agreement is not None
    assert found.frontier_agreement < 0.5
    assert found.flips is not None
    assert found.flips > 0
    assert found.evidence_correlation is not None
    assert found.evidence_correlation < 0.9


def test_every_measure_is_what_is_counted_by_hand() -> None:
    state = Compared(
        left=np.array([0.94, 0.88, 0.50, 0.20], np.float32),
        right=np.array([0.85, 0.92, 0.50, 0.30], np.float32),
        same=np.array([True, True, False, True]),
        left_chosen=np.array([True, False, True, False]),
        right_chosen=np.array([False, True, True, False]),
        correlations=np.array([0.5, 1.0]),
    )
    found = summarise([state], (0.9,))
    assert (found.steps, found.candidates, found.near) == (1, 4, 2)
    assert found.frontier_agreement == 0.5
    assert found.candidate_agreement == 0.75
    assert found.flips == pytest.approx(2 / 3)
    assert found.mean_drift == pytest.approx(0.0125, abs=1e-6)
    assert found.mean_absolute_drift == pytest.approx(0.0575, abs=1e-6)
    assert (found.crossed, found.near_drift) == (1.0, pytest.approx(0.065, abs=1e-6))
    assert found.evidence_correlation == 0.75


def test_states_are_joined_candidate_by_candidate() -> None:
    states = [compare(decision) for decision in decisions(1, 2)]
    every = joined(states)
    assert len(every.left) == len(every.same) == sum(len(state.left) for state in states)


def test_thresholds_of_a_rule_are_those_that_confidences_meet() -> None:
    assert confidence_thresholds(Dawn()) == (0.7, 0.75, 0.9)
    assert confidence_thresholds(Threshold(0.8)) == (0.8,)
    assert confidence_thresholds(OnePerStep()) == ()


def test_a_rule_that_remembers_earlier_steps_is_refused() -> None:
    with pytest.raises(OptionError, match="'klass' decides by earlier steps"):
        decisions(1, 1, Klass())


def test_artifacts_of_different_models_are_refused_by_what_differs() -> None:
    longer = replace(MANIFEST, dims=replace(MANIFEST.dims, max_length=7))
    check_same_model(MANIFEST, longer)
    with pytest.raises(MismatchError, match="prediction_shift is 0 in A and 1 in B"):
        check_same_model(MANIFEST, replace(MANIFEST, prediction_shift=1))


def test_the_command_finds_an_artifact_equal_to_itself(
    exported: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, picture = tmp_path / "data.jsonl", tmp_path / "differences.png"
    data.write_text('{"input_ids": [1, 2]}\n{"input_ids": [3]}\n')
    folder = str(exported("llada"))
    flags = ["--data", str(data), "--max-new-tokens", "16", "--threads", "1", "--quiet"]
    assert main(["compare", folder, folder, *flags, "--picture", str(picture), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["overall"]["frontier_agreement"] == 1.0
    assert document["overall"]["flips"] == 0.0
    assert document["overall"]["evidence_correlation"] == pytest.approx(1.0)
    assert document["free"][0]["likeness"] == document["free"][1]["likeness"]
    assert document["free"][1]["churn"] == {
        "changed": 0.0,
        "equal_tokens": 1.0,
        "diverged": 0.0,
        "first_divergence": None,
        "lost": None,
        "gained": None,
    }
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["compare", folder, folder, *flags, "--policy", "threshold"]) == 0
    assert "Forced: both asked at every state that A meets" in capsys.readouterr().out


def test_the_command_refuses_artifacts_of_two_models(
    exported: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(exported("llada")), str(exported("dream")), "--tasks"]) == 1
    assert "the artifacts are not of one model: family" in capsys.readouterr().err
