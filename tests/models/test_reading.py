"""Parts of tensors, read into memory that is used again."""

from pathlib import Path

import pytest
import torch

from dawn_models import Checkpoint, TensorReader, WeightsError
from support.checkpoints import write_checkpoint, write_sharded


def test_rows_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(write_sharded(tmp_path / "checkpoint"))
    with TensorReader(checkpoint) as reader:
        for name in reader.order:
            expected = checkpoint.tensor(name)
            count = len(expected)
            assert reader.shape(name) == tuple(expected.shape)
            assert reader.row_bytes(name) * count == expected.nbytes
            assert torch.equal(reader.rows(name, 0, count), expected)
            assert torch.equal(reader.rows(name, 3, 7), expected[3:7])


def test_the_order_goes_through_every_shard_once(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(write_sharded(tmp_path / "checkpoint"))
    with TensorReader(checkpoint) as reader:
        files = [checkpoint.tensors[name].file for name in reader.order]
        assert sorted(reader.order) == sorted(checkpoint.tensors)
    assert files == sorted(files)


def test_the_buffer_is_used_again(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(write_checkpoint(tmp_path / "checkpoint", "dream"))
    with TensorReader(checkpoint) as reader:
        first = reader.rows("embedding.weight", 0, 8)
        kept = first.clone()
        second = reader.rows("head.weight", 0, 8)
        assert second.data_ptr() == first.data_ptr()
        assert not torch.equal(first, kept)


def test_a_file_that_became_shorter_is_one_clear_line(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", "dream")
    checkpoint = Checkpoint.open(folder)
    path = folder / "model.safetensors"
    with TensorReader(checkpoint) as reader:
        path.write_bytes(path.read_bytes()[:-100])
        last = reader.order[-1]
        with pytest.raises(WeightsError, match=r"model.safetensors: ends too early, it has chang"):
            reader.rows(last, 0, reader.shape(last)[0])


def test_a_file_that_is_gone_is_one_clear_line(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", "dream")
    checkpoint = Checkpoint.open(folder)
    with TensorReader(checkpoint) as reader:
        (folder / "model.safetensors").unlink()
        with pytest.raises(WeightsError, match=r"model.safetensors: cannot be read: No such file"):
            reader.rows("norm.weight", 0, 1)
    with pytest.raises(WeightsError, match=r"model.safetensors: cannot be read: "):
        TensorReader(checkpoint)
