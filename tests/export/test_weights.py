"""Weights flow one at a time and do not change on the way unless they must."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch

from dawn_export import ExportError
from dawn_export.assembly import StoredWeight
from dawn_export.weights import WrittenWeights, write_weights
from dawn_models import Checkpoint
from support.checkpoints import write_checkpoint

TYPES = {"float32": ir.DataType.FLOAT, "float16": ir.DataType.FLOAT16}


def stored(checkpoint: Checkpoint, dtype: str, *transposed: str) -> list[StoredWeight]:
    weights = []
    for name, info in checkpoint.tensors.items():
        turned = name in transposed
        shape = ir.Shape(reversed(info.shape) if turned else info.shape)
        value = ir.Value(name=name, shape=shape, type=ir.TensorType(TYPES[dtype]))
        weights.append(StoredWeight(name, value, turned))
    return weights


def written(
    folder: Path, dtype: str, *transposed: str, progress: bool = False, **spoil: float
) -> tuple[WrittenWeights, dict[str, np.ndarray], Checkpoint]:
    """Writes a checkpoint in which single values are changed, and reads the file again."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name, number in spoil.items():
            tensors["model.norm.weight"][int(name.removeprefix("at"))] = number

    checkpoint = Checkpoint.open(write_checkpoint(folder / "checkpoint", "dream", change))
    weights = stored(checkpoint, dtype, *transposed)
    report = write_weights(weights, checkpoint, dtype, folder / "weights", progress=progress)
    tensors = {weight.parameter: weight.value.const_value for weight in weights}
    return report, {name: tensor.numpy() for name, tensor in tensors.items()}, checkpoint


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_values_arrive_converted_and_transposed(tmp_path: Path, dtype: str) -> None:
    report, found, checkpoint = written(tmp_path, dtype, "layers.1.gate_proj.weight")
    for name, array in found.items():
        source = checkpoint.tensor(name).float().numpy().astype(dtype)
        expected = source.T if name == "layers.1.gate_proj.weight" else source
        np.testing.assert_array_equal(array, expected, err_msg=name)
    assert report.values == sum(array.size for array in found.values())
    assert report.size_bytes == (tmp_path / "weights").stat().st_size
    assert not report.vanished


def test_one_tensor_is_read_when_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    read = Checkpoint.tensor

    def noted(self: Checkpoint, parameter: str) -> torch.Tensor:
        size = next((path.stat().st_size for path in tmp_path.glob(".weights*/weights")), 0)
        events.append(f"{parameter} at {size}")
        return read(self, parameter)

    monkeypatch.setattr(Checkpoint, "tensor", noted)
    written(tmp_path, "float32")
    # The file has grown by what was read before; the last buffer may not be on disk yet.
    sizes = [int(event.split()[-1]) for event in events]
    assert len(set(events)) == len(events)
    assert sizes == sorted(sizes)
    assert sizes[-1] > 0


def test_overflow_is_refused_by_name_and_number(tmp_path: Path) -> None:
    message = (
        "weight norm.weight: 2 of 16 values are beyond the range of float16; "
        "export with --precision fp32"
    )
    with pytest.raises(ExportError, match=message):
        written(tmp_path, "float16", at0=1e5, at3=-1e6)
    assert list(tmp_path.iterdir()) == [tmp_path / "checkpoint"]


def test_values_that_vanish_are_counted(tmp_path: Path) -> None:
    report, _, _ = written(tmp_path, "float16", at1=1e-9, at2=-1e-9, at4=0.0)
    assert report.vanished == {"norm.weight": 2}


def test_large_and_small_values_survive_in_float32(tmp_path: Path) -> None:
    report, found, _ = written(tmp_path, "float32", at0=1e5, at1=1e-9)
    assert not report.vanished
    assert found["norm.weight"][0] > 9e4
    assert found["norm.weight"][1] > 0


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_weights_that_are_not_numbers_are_refused(
    tmp_path: Path, dtype: str, number: float
) -> None:
    with pytest.raises(ExportError, match=r"norm.weight: 1 of 16 values are NaN or infinite"):
        written(tmp_path, dtype, at5=number)


def test_progress_is_shown_on_standard_error_when_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, "float32", progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "weights: 100%" in captured.err
