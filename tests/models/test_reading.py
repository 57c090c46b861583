"""Parts of tensors, read into memory that is used again."""

import itertools
import os
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


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system takes no advice")
def test_the_system_is_asked_for_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr("dawn_models.reading._AHEAD", 1000)
    monkeypatch.setattr(os, "posix_fadvise", lambda _, start, size, __: asked.append((start, size)))
    checkpoint = Checkpoint.open(write_checkpoint(tmp_path / "checkpoint", "dream"))
    with TensorReader(checkpoint) as reader:
        name = reader.order[0]
        size = reader.row_bytes(name)
        for row in range(len(checkpoint.tensor(name))):
            reader.rows(name, row, row + 1)
    first = asked[0][0]
    assert [start for start, _ in asked] == sorted({start for start, _ in asked})
    for start, length in asked:
        assert length == 1000
        assert (start - first) % size == 0
    # Never nearer than half of it, never further than it reaches.
    steps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(asked)]
    assert steps
    assert all(500 <= step <= 500 + size for step in steps)


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
