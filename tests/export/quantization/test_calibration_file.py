"""`calibration.json`: what is written is read, and nothing else is."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dawn_export.errors import CalibrationFileError
from dawn_export.quantization.calibration_file import (
    CALIBRATION_FILE,
    Calibration,
    read_calibration,
)
from dawn_export.quantization.fingerprint import fingerprint
from dawn_export.quantization.smoothing import folded
from dawn_models import Checkpoint, load_transformer
from support.calibrations import calibrate
from support.checkpoints import write_checkpoint

DOCUMENT = dict[str, Any]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return Checkpoint.open(write_checkpoint(tmp_path_factory.mktemp("calibrated"), "dream"))


@pytest.fixture(scope="module")
def calibration(checkpoint: Checkpoint) -> Calibration:
    return calibrate(checkpoint, smooth=True)


def test_what_is_written_is_read(calibration: Calibration, tmp_path: Path) -> None:
    path = tmp_path / CALIBRATION_FILE
    path.write_text(calibration.to_json())
    assert read_calibration(path) == calibration


def changed(path: str, value: object) -> Callable[[DOCUMENT], None]:
    def change(document: DOCUMENT) -> None:
        *parents, last = path.split("/")
        for name in parents:
            document = document[name]
        document[last] = value

    return change


def without(path: str) -> Callable[[DOCUMENT], None]:
    def change(document: DOCUMENT) -> None:
        *parents, last = path.split("/")
        for name in parents:
            document = document[name]
        del document[last]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("format_version", 2), "format version 2 is newer than 1"),
        (changed("surprise", 1), "field 'surprise' is unknown"),
        (without("ranges"), "field 'ranges' is missing; run dawn-calibrate ranges again"),
        (without("ranges/layers.1.down_proj"), "'layers.1.down_proj' has no range"),
        (changed("ranges/layers.2.down_proj", 1.0), "'layers.2.down_proj' is no part of the model"),
        (changed("ranges/layers.0.q_proj", 0), "'ranges.layers.0.q_proj' is invalid"),
        (changed("ranges/layers.0.q_proj", float("nan")), "'ranges.layers.0.q_proj' is nan"),
        (changed("ranges/layers.0.q_proj", float("inf")), "'ranges.layers.0.q_proj' is inf"),
        (changed("ranges/layers.0.q_proj", "1"), "'ranges.layers.0.q_proj' is '1'"),
        (changed("smoothing/norm", [1.0]), "'norm' is no part of the model"),
        (changed("smoothing/layers.0.mlp_norm", [1.0]), "is invalid, expected 16 finite numbers"),
        (changed("smoothing/layers.0.mlp_norm", [-1.0] * 16), "is invalid, expected 16 finite"),
        (changed("data_sha256", "abc"), "'data_sha256' is invalid, expected 64 hex digits"),
        (changed("model/dims/layers", 0), "field 'model.dims.layers' is 0"),
        (changed("strata", [{"lowest": 0}]), r"strata\[0\].highest' is missing"),
    ],
)
def test_a_damaged_file_is_refused_by_the_name_of_the_field(
    calibration: Calibration, change: Callable[[DOCUMENT], None], message: str
) -> None:
    document = json.loads(calibration.to_json())
    change(document)
    with pytest.raises(CalibrationFileError, match=rf"^mine.json: .*{message}"):
        Calibration.from_json(json.dumps(document), "mine.json")


def test_a_text_that_is_no_calibration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationFileError, match=r"not valid JSON .* run dawn-calibrate ranges"):
        Calibration.from_json("{")
    with pytest.raises(CalibrationFileError, match=r"absent.json: no such file; check"):
        read_calibration(tmp_path / "absent.json")


def test_the_file_of_another_model_is_refused(
    calibration: Calibration, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    calibration.check_model(fingerprint(checkpoint))

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.norm.weight"][3] += 1

    other = Checkpoint.open(write_checkpoint(tmp_path, "dream", change))
    with pytest.raises(CalibrationFileError, match="made for another model, weights_sha256 is"):
        calibration.check_model(fingerprint(other))
    grown = replace(calibration.model, family="llada")
    with pytest.raises(CalibrationFileError, match=r"another model, family is dream and .* llada"):
        calibration.check_model(grown)


def test_smoothing_folded_into_weights_computes_the_same(
    calibration: Calibration, checkpoint: Checkpoint
) -> None:
    plain, smooth = load_transformer(checkpoint), load_transformer(checkpoint)
    factors = folded(calibration, checkpoint.config)
    assert len(factors) == 2 * (2 + 5)
    with torch.no_grad():
        for name, factor in factors.items():
            smooth.get_parameter(name).mul_(factor)
        ids = torch.arange(20)[None] % checkpoint.config.vocab_size
        torch.testing.assert_close(smooth(ids), plain(ids), rtol=1e-4, atol=1e-4)


def test_no_calibration_folds_nothing(checkpoint: Checkpoint) -> None:
    assert folded(None, checkpoint.config) == {}
