"""Which files hold the weights where several could, and what is said of the others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dawn_models import Checkpoint, ConfigError, WeightsError, load_transformer
from support.checkpoints import write_checkpoint, write_index, write_sharded

FAMILIES = pytest.mark.parametrize("family", ["dream", "llada"])
SINGLE = "model.safetensors"


def files(checkpoint: Checkpoint) -> set[str]:
    return {info.file.name for info in checkpoint.tensors.values()}


def add_single(folder: Path, factor: float = 2.0) -> None:
    """Puts one file beside the shards, its weights multiplied."""
    tensors: dict[str, torch.Tensor] = {}
    for shard in folder.glob("model-*.safetensors"):
        tensors |= load_file(shard)
    save_file({name: tensor * factor for name, tensor in tensors.items()}, folder / SINGLE)


@FAMILIES
def test_a_single_file_goes_before_an_index_and_that_is_said(tmp_path: Path, family: str) -> None:
    folder = write_sharded(tmp_path, family)
    norm = Checkpoint.open(folder).tensor("norm.weight")
    add_single(folder)
    checkpoint = Checkpoint.open(folder)
    assert files(checkpoint) == {SINGLE}
    assert torch.equal(checkpoint.tensor("norm.weight"), norm * 2)
    assert checkpoint.notes == (
        "model.safetensors is exported, as transformers loads it; not read: "
        "model-00001-of-00002.safetensors, model-00002-of-00002.safetensors and 1 more",
    )


def test_an_index_that_names_the_single_file_is_no_other_claim(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "dream")
    write_index(tmp_path, dict.fromkeys(load_file(tmp_path / SINGLE), SINGLE))
    assert Checkpoint.open(tmp_path).notes == ()
    write_index(tmp_path, "broken")
    (note,) = Checkpoint.open(tmp_path).notes
    assert note.endswith("not read: model.safetensors.index.json")


def test_shards_alone_are_read_without_a_word(tmp_path: Path) -> None:
    assert Checkpoint.open(write_sharded(tmp_path)).notes == ()


@pytest.mark.parametrize(
    "name",
    [
        "model.fp16.safetensors",
        "model-00003-of-00003.safetensors",
        "model.safetensors.index.fp16.json",
        "consolidated.safetensors",
        "pytorch_model.bin",
        "pytorch_model-00001-of-00002.bin",
        "model.Q4_K_M.gguf",
    ],
)
def test_other_weights_beside_those_that_are_read_are_named(tmp_path: Path, name: str) -> None:
    for folder in (write_checkpoint(tmp_path / "one", "dream"), write_sharded(tmp_path / "two")):
        (folder / name).write_bytes(b"never read")
        (note,) = Checkpoint.open(folder).notes
        assert note.endswith(f", as transformers loads it; not read: {name}")


def test_what_trainers_leave_is_no_claim(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "dream")
    for name in ("training_args.bin", "optimizer.pt", "rng_state.pth"):
        (tmp_path / name).write_bytes(b"")
    assert Checkpoint.open(tmp_path).notes == ()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.fp16.safetensors", r"only model\.fp16\.safetensors; if that .* give it the name"),
        ("model.gguf", r"model\.gguf: only safetensors are read; GGUF holds rounded weights"),
        ("pytorch_model.bin", r"pytorch_model\.bin: only safetensors are read .*save_pretrained"),
        ("README.md", r"neither model\.safetensors nor model\.safetensors\.index\.json found$"),
    ],
)
def test_what_is_there_in_place_of_weights_is_named(
    tmp_path: Path, name: str, message: str
) -> None:
    write_checkpoint(tmp_path, "dream")
    (tmp_path / SINGLE).rename(tmp_path / name)
    with pytest.raises(WeightsError, match=message):
        Checkpoint.open(tmp_path)


def test_an_adapter_is_not_taken_for_a_model(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "dream")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"adapter_config\.json: an adapter.*merge it into"):
        Checkpoint.open(tmp_path)


def renamed(change: Callable[[str], str]) -> Callable[[dict[str, torch.Tensor]], object]:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            tensors[change(name)] = tensors.pop(name)

    return spoil


@FAMILIES
@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (lambda name: f"base_model.model.{name}", "weights of peft .LoRA.: merge them first"),
        (lambda name: name.replace(".weight", ".lora_A.weight"), "weights of peft .LoRA."),
        (lambda name: f"module.{name}", "names start with 'module.': save the inner model"),
        (lambda name: f"_orig_mod.{name}", "names start with '_orig_mod.'"),
        (lambda name: f"encoder.model.{name}", "names start with 'encoder.model.'"),
        (lambda name: name.removeprefix("model."), "names lack 'model.': save the model with"),
        (lambda name: name.replace(".weight", ".qweight"), "the weights are rounded .GPTQ or AWQ"),
    ],
)
def test_names_of_tensors_tell_what_to_do(
    tmp_path: Path, family: str, change: Callable[[str], str], advice: str
) -> None:
    with pytest.raises(WeightsError, match=advice) as caught:
        Checkpoint.open(write_checkpoint(tmp_path, family, renamed(change)))
    assert "\n" not in str(caught.value)


def test_norms_of_queries_and_keys_are_named(tmp_path: Path) -> None:
    def add(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.layers.0.self_attn.q_norm.weight"] = torch.ones(4)

    with pytest.raises(WeightsError, match=r"unexpected tensor .*; norms of queries and keys, as"):
        Checkpoint.open(write_checkpoint(tmp_path, "dream", add))


def test_a_head_that_is_missing_may_be_the_embedding(tmp_path: Path) -> None:
    def drop(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["lm_head.weight"]

    with pytest.raises(WeightsError, match="is missing; if the head is the embedding, config"):
        Checkpoint.open(write_checkpoint(tmp_path, "dream", drop))


TIED: list[tuple[str, str, str, dict[str, Any]]] = [
    ("dream", "lm_head.weight", "model.embed_tokens.weight", {"tie_word_embeddings": True}),
    ("llada", "model.transformer.ff_out.weight", "model.transformer.wte.weight", {}),
]


@pytest.mark.parametrize(("family", "head", "embedding", "tie"), TIED)
def test_a_head_beside_an_embedding_that_is_the_head_must_equal_it(
    tmp_path: Path, family: str, head: str, embedding: str, tie: dict[str, Any]
) -> None:
    tie = tie or {"weight_tying": ...}  # LLaDA's own code ties where nothing is said

    def repeat(tensors: dict[str, torch.Tensor]) -> None:
        tensors[head] = tensors[embedding].clone()

    def change(tensors: dict[str, torch.Tensor]) -> None:
        repeat(tensors)
        tensors[head][39, 15] += 1

    Checkpoint.open(write_checkpoint(tmp_path / "equal", family, repeat, **tie)).check_head()
    checkpoint = Checkpoint.open(write_checkpoint(tmp_path / "other", family, change, **tie))
    for use in (checkpoint.check_head, lambda: load_transformer(checkpoint)):
        with pytest.raises(WeightsError, match=f"'{head}' differs from '{embedding}', but config"):
            use()


def test_another_type_of_numbers_than_is_stored_is_said(tmp_path: Path) -> None:
    def test(**stated: str) -> tuple[str, ...]:
        return Checkpoint.open(write_checkpoint(tmp_path, "dream", **stated)).notes

    assert test(torch_dtype="bfloat16") == test(dtype="torch.bfloat16") == test(dtype="auto") == ()
    (note,) = test(torch_dtype="float16")
    assert note.startswith("config.json: torch_dtype is float16, the weights are stored as BF16")


def test_a_folder_of_the_cache_is_told_from_a_checkpoint_in_it(tmp_path: Path) -> None:
    (tmp_path / "snapshots" / "abc").mkdir(parents=True)
    with pytest.raises(ConfigError, match="in the Hugging Face cache; give the checkpoint, snap"):
        Checkpoint.open(tmp_path)


def test_links_of_a_snapshot_lead_into_its_blobs_alone(tmp_path: Path) -> None:
    plain = write_checkpoint(tmp_path / "plain", "dream")
    inside = tmp_path / "cache" / "snapshots" / "abc" / "part"
    blobs = tmp_path / "cache" / "blobs"
    inside.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(plain.iterdir()):
        path.rename(blobs / str(number))
        (inside / path.name).symlink_to(blobs / str(number))
    assert Checkpoint.open(inside).config.num_layers == 2
    stray = tmp_path / "generation_config.json"
    stray.write_text(json.dumps({}))
    (inside / stray.name).symlink_to(stray)
    with pytest.raises(
        ConfigError, match=r"generation_config\.json: links to .*outside its folder"
    ):
        Checkpoint.open(inside)
