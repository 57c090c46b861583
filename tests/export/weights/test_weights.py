"""Weights flow block by block and do not change on the way unless they must."""

import hashlib
import itertools
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch

from dawn_export import ExportError, OutputError
from dawn_export.weights import source_rows
from dawn_export.weights import write as weights
from dawn_export.weights.data_file import DataFile
from dawn_export.weights.layout import Layout, StoredWeight
from dawn_export.weights.write import WrittenWeights, point_to, write_weights
from dawn_models import Checkpoint, TensorReader
from support.checkpoints import write_checkpoint

TYPES = {
    "float32": ir.DataType.FLOAT,
    "float16": ir.DataType.FLOAT16,
    "bfloat16": ir.DataType.BFLOAT16,
}
TURNED = ("layers.1.gate_proj.weight", "head.weight")


def stored(checkpoint: Checkpoint, dtype: str, *transposed: str) -> list[StoredWeight]:
    weights = []
    for name, info in checkpoint.tensors.items():
        turned = name in transposed
        shape = ir.Shape(reversed(info.shape) if turned else info.shape)
        value = ir.Value(name=name, shape=shape, type=ir.TensorType(TYPES[dtype]))
        weights.append(StoredWeight(name, Layout((name,), turned), [value]))
    return weights


def written(
    folder: Path,
    dtype: str,
    *transposed: str,
    progress: bool = False,
    allow_overflow: bool = False,
    **spoil: float,
) -> tuple[WrittenWeights, dict[str, torch.Tensor], Checkpoint]:
    """Writes a checkpoint in which single values are changed, and reads the file again."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name, number in spoil.items():
            tensors["model.norm.weight"][int(name.removeprefix("at"))] = number

    checkpoint = Checkpoint.open(write_checkpoint(folder / "checkpoint", "dream", change))
    stores = stored(checkpoint, dtype, *transposed)
    report = write_weights(
        {store.name: store.layout for store in stores},
        checkpoint,
        dtype,
        folder / "weights",
        allow_overflow=allow_overflow,
        progress=progress,
    )
    point_to(stores, report, folder / "weights")
    found = {store.name: store.values[0].const_value for store in stores}
    arrays = {name: np.array(tensor.numpy()) for name, tensor in found.items() if tensor}
    return report, {name: as_torch(array) for name, array in arrays.items()}, checkpoint


def as_torch(array: np.ndarray) -> torch.Tensor:
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_values_arrive_converted_and_transposed(tmp_path: Path, dtype: str) -> None:
    report, found, checkpoint = written(tmp_path, dtype, *TURNED)
    for name, values in found.items():
        source = checkpoint.tensor(name).to(getattr(torch, dtype))
        torch.testing.assert_close(values, source.t() if name in TURNED else source, rtol=0, atol=0)
    content = (tmp_path / "weights").read_bytes()
    assert report.values == sum(values.numel() for values in found.values())
    assert report.file.size == len(content)
    assert report.file.sha256 == hashlib.sha256(content).hexdigest()
    assert not report.vanished
    assert not report.overflowed


@pytest.mark.parametrize("name", ["layers.1.gate_proj.weight", "layers.0.o_proj.weight"])
def test_a_factor_belongs_to_the_channels_that_are_read_however_it_lies(
    tmp_path: Path, name: str
) -> None:
    checkpoint = Checkpoint.open(write_checkpoint(tmp_path / "checkpoint", "dream"))
    matrix = checkpoint.tensor(name)
    factor = torch.arange(1, 1 + matrix.shape[1], dtype=torch.float32)
    report = write_weights(
        {name: Layout((name,), transposed=True)},
        checkpoint,
        "float32",
        tmp_path / "weights",
        factors={name: factor},
    )
    found = torch.from_numpy(np.fromfile(tmp_path / "weights", np.float32))
    expected = (matrix.float() * factor).t()
    torch.testing.assert_close(found.view(expected.shape), expected, rtol=0, atol=0)
    assert report.values == matrix.numel()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_size_of_blocks_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    whole, _, _ = written(tmp_path / "whole", dtype, *TURNED)
    monkeypatch.setattr(weights, "BLOCK_BYTES", 1)
    monkeypatch.setattr(source_rows, "BLOCK_BYTES", 1)
    monkeypatch.setattr(weights, "_BLOCK_COLUMNS", 3)
    blocks, found, checkpoint = written(tmp_path / "blocks", dtype, *TURNED)
    assert blocks == whole
    assert found["head.weight"].shape == checkpoint.tensor("head.weight").t().shape


def test_the_checkpoint_is_read_once_from_start_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, int]] = []
    rows = TensorReader.rows

    def noted(self: TensorReader, parameter: str, first: int, last: int) -> torch.Tensor:
        found = rows(self, parameter, first, last)
        start = self._places[parameter].offset + first * self.row_bytes(parameter)
        read.append((start, start + found.nbytes))
        return found

    monkeypatch.setattr(TensorReader, "rows", noted)
    monkeypatch.setattr(source_rows, "BLOCK_BYTES", 64)
    written(tmp_path, "float32", *TURNED)
    size = (tmp_path / "checkpoint" / "model.safetensors").stat().st_size
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(read))
    assert read[-1][1] == size


def test_overflow_is_refused_by_name_and_number(tmp_path: Path) -> None:
    message = (
        "weight norm.weight: 2 of 16 values are beyond the range of float16; export with "
        "--precision bf16 or fp32, or let the largest float16 stand for them with --allow-overflow"
    )
    with pytest.raises(ExportError, match=message):
        written(tmp_path, "float16", at0=1e5, at3=-1e6)


def test_overflow_that_is_allowed_is_counted(tmp_path: Path) -> None:
    report, found, _ = written(tmp_path, "float16", allow_overflow=True, at0=1e5, at3=-1e6, at4=1)
    assert report.overflowed == {"norm.weight": 2}
    assert found["norm.weight"][[0, 3, 4]].tolist() == [65504, -65504, 1]


def test_values_that_vanish_are_counted(tmp_path: Path) -> None:
    report, _, _ = written(tmp_path, "float16", at1=1e-9, at2=-1e-9, at4=0.0, at5=-0.0)
    assert report.vanished == {"norm.weight": 2}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_large_and_small_values_survive_where_they_fit(tmp_path: Path, dtype: str) -> None:
    report, found, _ = written(tmp_path, dtype, at0=1e5, at1=1e-9)
    assert not report.vanished
    assert found["norm.weight"][0] > 9e4
    assert found["norm.weight"][1] > 0


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_weights_that_are_not_numbers_are_refused(
    tmp_path: Path, dtype: str, number: float
) -> None:
    with pytest.raises(ExportError, match=r"norm.weight: 1 of 16 values are NaN or infinite"):
        written(tmp_path, dtype, allow_overflow=True, at5=number, at6=1e5)


def test_progress_is_shown_on_standard_error_when_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, "float32", progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "weights: 100%" in captured.err


def test_a_graph_that_reads_something_else_is_refused(tmp_path: Path) -> None:
    report, _, checkpoint = written(tmp_path, "float32")
    missing, turned = stored(checkpoint, "float32")[1:], stored(checkpoint, "float32", TURNED[0])
    for stores, message in (
        (missing, r"the graph reads None, not Layout\(members="),
        (turned, f"{TURNED[0]}: the graph reads .*transposed=True.*, not .*transposed=False"),
        (stored(checkpoint, "float16"), "bytes written, not"),
    ):
        with pytest.raises(ValueError, match=message):
            point_to(stores, report, tmp_path / "weights")


def test_a_full_disk_is_one_clear_line() -> None:
    with DataFile(Path("/dev/full")) as data:
        data.append(torch.zeros(4))
        with pytest.raises(OutputError, match="full: cannot be written: No space left on device"):
            data.finish()
