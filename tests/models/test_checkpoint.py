"""Reading weights: lazily, completely, and never from outside the folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dawn_models import (
    Checkpoint,
    CheckpointError,
    ConfigError,
    WeightsError,
    load_transformer,
)
from dawn_models.tensor_files import read_tensors
from support.checkpoints import read_weight_map, write_checkpoint, write_index, write_sharded

Tensors = dict[str, torch.Tensor]
NORM, QUERY = "model.norm.weight", "model.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize("family", ["dream", "llada"])
def test_every_parameter_has_its_tensor(tmp_path: Path, family: str) -> None:
    checkpoint = Checkpoint.open(write_checkpoint(tmp_path, family))
    model = load_transformer(checkpoint)
    assert set(checkpoint.tensors) == set(model.state_dict())
    for name, tensor in checkpoint:
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(model.get_parameter(name), tensor.float())


def test_shards_and_a_single_file_read_the_same(tmp_path: Path) -> None:
    single = dict(Checkpoint.open(write_checkpoint(tmp_path / "one", "dream")))
    sharded = dict(Checkpoint.open(write_sharded(tmp_path / "two")))
    assert single.keys() == sharded.keys()
    assert all(torch.equal(single[name], sharded[name]) for name in single)


def test_headers_are_read_through_maps_that_cannot_be_written(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, "dream")
    headers = iter(read_tensors(folder / "model.safetensors"))
    next(headers)
    lines = Path("/proc/self/maps").read_text().splitlines()
    modes = [line.split()[1] for line in lines if line.endswith("/model.safetensors")]
    assert modes
    assert not any("w" in mode for mode in modes), "private writable maps count as data"


def test_a_tied_head_is_the_embedding(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, "dream", tie_word_embeddings=True)
    checkpoint = Checkpoint.open(folder)
    assert "head.weight" not in checkpoint.tensors
    model = load_transformer(checkpoint)
    assert model.head.weight is model.embedding.weight


def test_a_tied_model_may_carry_its_head_again(tmp_path: Path) -> None:
    def add_head(tensors: Tensors) -> None:
        tensors["lm_head.weight"] = torch.zeros(40, 16)

    Checkpoint.open(write_checkpoint(tmp_path, "dream", add_head, tie_word_embeddings=True))


def test_old_rotary_buffers_are_ignored(tmp_path: Path) -> None:
    def add_buffer(tensors: Tensors) -> None:
        tensors["model.layers.1.self_attn.rotary_emb.inv_freq"] = torch.zeros(2)

    Checkpoint.open(write_checkpoint(tmp_path, "dream", add_buffer))


def drop(tensors: Tensors) -> None:
    del tensors[NORM]


def add(tensors: Tensors) -> None:
    tensors["model.extra.weight"] = torch.zeros(1)


def reshape(tensors: Tensors) -> None:
    tensors[QUERY] = torch.zeros(16, 8)


def retype(tensors: Tensors) -> None:
    tensors[NORM] = torch.zeros(16, dtype=torch.int8)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop, f"tensor '{NORM}' is missing"),
        (add, "unexpected tensor 'model.extra.weight'"),
        (reshape, rf"'{QUERY}' has shape \[16, 8\], config.json asks for \[16, 16\]"),
        (retype, f"'{NORM}' is I8, expected one of F32, F16, BF16"),
    ],
)
def test_a_wrong_tensor_is_named(
    tmp_path: Path, spoil: Callable[[Tensors], None], message: str
) -> None:
    with pytest.raises(WeightsError, match=message):
        Checkpoint.open(write_checkpoint(tmp_path, "dream", spoil))


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        Checkpoint.open(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_a_pickle_is_never_opened(tmp_path: Path, name: str) -> None:
    folder = write_checkpoint(tmp_path, "dream")
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(WeightsError, match="only safetensors are read"):
        Checkpoint.open(folder)


def test_a_folder_without_weights_says_what_is_missing(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, "dream")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"neither model\.safetensors nor"):
        Checkpoint.open(folder)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_a_truncated_shard_is_named(tmp_path: Path, keep: int) -> None:
    folder = write_checkpoint(tmp_path, "dream")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"model\.safetensors: not readable as safetensors"):
        Checkpoint.open(folder)


def test_a_header_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, "dream")
    (folder / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(WeightsError, match="not readable as safetensors"):
        Checkpoint.open(folder)


@pytest.mark.parametrize(
    "name",
    ["../outside.safetensors", "/etc/passwd", "..", "a/b.safetensors", "", "C:\\x.safetensors"],
)
def test_an_index_never_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    folder = write_sharded(tmp_path / "model")
    shutil.copy(folder / "model-00001-of-00002.safetensors", tmp_path / "outside.safetensors")
    weight_map = read_weight_map(folder)
    weight_map[NORM] = name
    write_index(folder, weight_map)
    with pytest.raises(WeightsError, match=r"index\.json: shard .* is not the name of"):
        Checkpoint.open(folder)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", "dream")
    (folder / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (folder / "model.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(WeightsError, match="outside its folder"):
        Checkpoint.open(folder)


def test_the_links_of_the_hub_cache_are_followed(tmp_path: Path) -> None:
    snapshot = write_checkpoint(tmp_path / "models--x" / "snapshots" / "abc", "dream")
    blobs = tmp_path / "models--x" / "blobs"
    blobs.mkdir()
    (snapshot / "model.safetensors").rename(blobs / "0123")
    (snapshot / "model.safetensors").symlink_to(Path("../../blobs/0123"))
    assert Checkpoint.open(snapshot).tensor("norm.weight").shape == (16,)


@pytest.mark.parametrize("weight_map", [None, [], {"a": 1}, "x"])
def test_an_index_of_another_shape_is_refused(tmp_path: Path, weight_map: object) -> None:
    folder = write_sharded(tmp_path)
    write_index(folder, weight_map)
    with pytest.raises(CheckpointError, match="field 'weight_map'"):
        Checkpoint.open(folder)


def test_an_index_that_names_a_tensor_its_shard_lacks_is_refused(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path)
    weight_map = read_weight_map(folder)
    weight_map["model.ghost.weight"] = weight_map[NORM]
    write_index(folder, weight_map)
    with pytest.raises(WeightsError, match=r"'model\.ghost\.weight' is not in"):
        Checkpoint.open(folder)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path)
    shutil.copy(
        folder / "model-00001-of-00002.safetensors", folder / "model-00002-of-00002.safetensors"
    )
    with pytest.raises(WeightsError, match="is also in"):
        Checkpoint.open(folder)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"shard .* is not in"):
        Checkpoint.open(folder)
