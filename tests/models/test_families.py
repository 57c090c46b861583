"""Readers of all families: what tells them apart, the mask, blocks, heads, norms, and bad files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dawn_models import (
    FAMILIES,
    Attention,
    Checkpoint,
    ConfigError,
    Told,
    WeightsError,
    family_named,
    read_config,
)
from dawn_models.families import describe
from support.checkpoints import CONFIGS, UNTOLD, told_of, write_checkpoint, write_config

EVERY = pytest.mark.parametrize("family", CONFIGS)
WITH_BLOCKS = {
    "sdar": "block_size",
    "dream-reasoner": "block_size",
    "fast-dllm-v2": "bd_size",
    "nemotron": "block_size",
}


def put(folder: Path, name: str, value: object) -> None:
    (folder / name).write_text(json.dumps(value), encoding="utf-8")


def test_there_is_a_sample_of_every_family() -> None:
    assert set(CONFIGS) == {family.name for family in FAMILIES.values()}


@EVERY
def test_a_checkpoint_of_every_family_is_read(tmp_path: Path, family: str) -> None:
    checkpoint = Checkpoint.open(write_checkpoint(tmp_path, family), told_of(family))
    config = checkpoint.config
    assert (checkpoint.family.name, config.family) == (family, family)
    assert config.attention.kind == family_named(family).attention
    assert checkpoint.mask_source == "mask_token_id of config.json"


ATTENTIONS = {
    "a2d-bd3lm": Attention("block-causal", 32, "prompt"),
    "sdar": Attention("block-causal", 4),
    "dream-reasoner": Attention("block-causal", 32),
    "fast-dllm-v2": Attention("block-causal", 32, carry=True),
    "wedlm": Attention("causal"),
    "nemotron": Attention("causal", 32, "prompt", carry=True),
}


@EVERY
def test_what_a_model_sees_and_which_row_predicts_are_the_familys(
    tmp_path: Path, family: str
) -> None:
    write_config(tmp_path, family)
    config = read_config(tmp_path, told=told_of(family))[1]
    assert config.attention == ATTENTIONS.get(family, Attention())
    assert config.shift == int(family in ("dream", "open-dcoder", "coda", "fast-dllm-v2"))


@pytest.mark.parametrize("family", UNTOLD)
def test_a_model_that_no_file_names_is_refused_with_the_option(tmp_path: Path, family: str) -> None:
    write_config(tmp_path, family)
    with pytest.raises(ConfigError, match=rf"--family {family}\b.*, and no file says which$"):
        read_config(tmp_path)


@pytest.mark.parametrize(("said", "family"), [("sdar", "dream"), ("llada", "a2d-mdlm")])
def test_a_word_that_the_file_contradicts_is_refused(
    tmp_path: Path, said: str, family: str
) -> None:
    write_config(tmp_path, family)
    with pytest.raises(ConfigError, match=f"field 'model_type': got .* for the family {said}"):
        read_config(tmp_path, told=Told(family=said))


def test_a_family_that_there_is_not_is_refused(tmp_path: Path) -> None:
    write_config(tmp_path, "dream")
    with pytest.raises(ConfigError, match="unknown family 'dreem', expected one of"):
        read_config(tmp_path, told=Told(family="dreem"))


@pytest.mark.parametrize("geometry", ["a2d-qwen2", "a2d-qwen3"])
@pytest.mark.parametrize("family", ["a2d-mdlm", "a2d-bd3lm"])
def test_tiny_a2d_has_biases_or_norms_by_its_type(
    tmp_path: Path, family: str, geometry: str
) -> None:
    write_config(tmp_path, family, model_type=geometry)
    config = read_config(tmp_path, told=Told(family=family))[1]
    assert (config.qkv_bias, config.qk_norm) == (geometry == "a2d-qwen2", geometry == "a2d-qwen3")


ALIKE = [
    ("dream", {}, "dream"),
    ("dream", {"architectures": ["DreamModel"]}, "dream"),
    ("dream-reasoner", {}, "dream-reasoner"),
    ("dream-reasoner", {"architectures": ["DreamForCausalLM"]}, "dream-reasoner"),
    ("llada", {}, "llada"),
    ("sdar", {"architectures": ["SDARForCausalLM"]}, "sdar"),
]


@pytest.mark.parametrize(("sample", "changes", "family"), ALIKE)
def test_fields_tell_apart_what_has_one_model_type(
    tmp_path: Path, sample: str, changes: dict[str, Any], family: str
) -> None:
    write_config(tmp_path, sample, **changes)
    assert read_config(tmp_path)[0].name == family


# --- the mask -----------------------------------------------------------------------------------


def mask_of(folder: Path, family: str, **words: Any) -> tuple[int, str]:
    found = describe(folder, told=told_of(family, **words))
    return found.config.mask_token_id, found.mask_source


def without_mask(folder: Path, family: str) -> None:
    write_config(folder, family, mask_token_id=...)


NAMED = [(family.name, name) for family in FAMILIES.values() for name in family.mask_names]


@pytest.mark.parametrize(("family", "name"), NAMED)
def test_a_mask_is_found_where_the_tokenizer_adds_it(
    tmp_path: Path, family: str, name: str
) -> None:
    without_mask(tmp_path, family)
    put(tmp_path, "added_tokens.json", {"<|im_end|>": 38, name: 37})
    assert mask_of(tmp_path, family) == (37, f"added token {name!r} of the tokenizer")


PLACES: list[tuple[str, object]] = [
    ("tokenizer_config.json", {"added_tokens_decoder": {"37": {"content": "<|mask|>"}}}),
    ("added_tokens.json", {"<|mask|>": 37}),
    ("tokenizer.json", {"added_tokens": [{"id": 37, "content": "<|mask|>"}]}),
    ("tokenizer.json", {"model": {"vocab": {"<|mask|>": 37}}}),
]


@pytest.mark.parametrize(("file", "content"), PLACES)
def test_added_tokens_are_looked_for_in_every_file(
    tmp_path: Path, file: str, content: object
) -> None:
    without_mask(tmp_path, "coda")
    put(tmp_path, file, content)
    assert mask_of(tmp_path, "coda")[0] == 37


def test_the_places_of_a_mask_count_in_their_order(tmp_path: Path) -> None:
    without_mask(tmp_path, "dream")
    assert mask_of(tmp_path, "dream", mask_token_id=35) == (35, "--mask-token-id")
    put(tmp_path, "added_tokens.json", {"<|mask|>": 36, "[M]": 37})
    put(tmp_path, "tokenizer_config.json", {"mask_token": {"content": "[M]"}})
    assert mask_of(tmp_path, "dream") == (37, "mask_token '[M]' of tokenizer_config.json")
    write_config(tmp_path, "dream", mask_token_id=39)
    assert mask_of(tmp_path, "dream") == (39, "mask_token_id of config.json")
    put(tmp_path, "generation_config.json", {"mask_token_id": 39})
    assert mask_of(tmp_path, "dream") == (39, "mask_token_id of generation_config.json")


def test_of_two_files_that_name_a_mask_the_newer_counts(tmp_path: Path) -> None:
    without_mask(tmp_path, "dream")
    put(tmp_path, "special_tokens_map.json", {"mask_token": "[A]"})
    put(tmp_path, "added_tokens.json", {"[A]": 36, "[B]": 37})
    put(tmp_path, "tokenizer_config.json", {"mask_token": "[B]"})
    assert mask_of(tmp_path, "dream") == (36, "mask_token '[A]' of special_tokens_map.json")
    decoder = {"37": {"content": "[B]"}}
    put(tmp_path, "tokenizer_config.json", {"mask_token": "[B]", "added_tokens_decoder": decoder})
    assert mask_of(tmp_path, "dream") == (37, "mask_token '[B]' of tokenizer_config.json")


def test_a_mask_that_is_nowhere_is_asked_for(tmp_path: Path) -> None:
    without_mask(tmp_path, "illada")
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path)
    assert str(caught.value).endswith(
        "field 'mask_token_id': got nothing, expected an integer of at least 0, or a mask_token of "
        "the tokenizer, or an added token '<[MASK]>'; --mask-token-id N sets it"
    )


def test_a_word_about_the_mask_that_a_file_contradicts_is_refused(tmp_path: Path) -> None:
    write_config(tmp_path, "sdar")
    assert mask_of(tmp_path, "sdar", mask_token_id=39)[0] == 39
    with pytest.raises(ConfigError, match=r"got 12, expected 39, mask_token_id of config\.json; "):
        mask_of(tmp_path, "sdar", mask_token_id=12)


def test_files_that_give_a_token_two_ids_are_refused(tmp_path: Path) -> None:
    without_mask(tmp_path, "coda")
    put(tmp_path, "added_tokens.json", {"<|mask|>": 37})
    put(tmp_path, "tokenizer.json", {"added_tokens": [{"id": 36, "content": "<|mask|>"}]})
    with pytest.raises(ConfigError, match=r"tokenizer\.json: field '<|mask|>': got 36"):
        read_config(tmp_path)


def test_the_token_with_which_dreamon_asks_for_room_is_never_predicted(tmp_path: Path) -> None:
    write_config(tmp_path, "dream")
    put(tmp_path, "generation_config.json", {"expand_token_id": 37, "delete_token_id": 36})
    assert read_config(tmp_path)[1].barred_token_ids == (37, 39)


# --- blocks, heads, norms -----------------------------------------------------------------------


@pytest.mark.parametrize(("family", "field"), WITH_BLOCKS.items())
def test_the_length_of_blocks_is_the_files_or_asked_for(
    tmp_path: Path, family: str, field: str
) -> None:
    def length(**words: Any) -> int | None:
        return read_config(tmp_path, told=Told(**words))[1].attention.block_length

    architecture = {"dream-reasoner": {"architectures": ["DreamForCausalLM"]}}
    write_config(tmp_path, family, **architecture.get(family, {}) | {field: ...})
    with pytest.raises(ConfigError, match=rf"'{field}': got nothing, .*--trained-block N sets it"):
        length()
    assert length(trained_block=8) == 8
    write_config(tmp_path, family, **{field: 16})
    assert (length(), length(trained_block=16)) == (16, 16)
    with pytest.raises(ConfigError, match=f"'{field}': got 16, expected 8 as --trained-block says"):
        length(trained_block=8)


def test_the_usual_length_of_a_release_counts_where_its_file_is_silent(tmp_path: Path) -> None:
    told = Told(usual_block=4)
    write_config(tmp_path, "sdar", block_size=...)
    assert read_config(tmp_path, told=told)[1].attention.block_length == 4
    write_config(tmp_path, "sdar", block_size=16)
    assert read_config(tmp_path, told=told)[1].attention.block_length == 16


def test_a_length_of_blocks_is_refused_where_there_are_none(tmp_path: Path) -> None:
    write_config(tmp_path, "dream")
    with pytest.raises(ConfigError, match="got 8, but dream has no blocks of a trained length"):
        read_config(tmp_path, told=Told(trained_block=8))


def without_head(tensors: dict[str, torch.Tensor]) -> None:
    for name in ("lm_head.weight", "diffusion_head.weight"):
        tensors.pop(name, None)


SILENT = [name for name in CONFIGS if name not in ("dream", "llada")]


@pytest.mark.parametrize("family", SILENT)
def test_a_head_is_of_its_own_if_the_files_hold_one_and_config_is_silent(
    tmp_path: Path, family: str
) -> None:
    own = write_checkpoint(tmp_path / "own", family, tie_word_embeddings=...)
    assert not Checkpoint.open(own, told_of(family)).config.tied_head
    tied = write_checkpoint(tmp_path / "tied", family, without_head, tie_word_embeddings=...)
    assert Checkpoint.open(tied, told_of(family)).config.tied_head


def test_coda_never_ties_whatever_its_class_says(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, "coda")
    write_config(tmp_path, "coda", tie_word_embeddings=True)
    checkpoint = Checkpoint.open(folder)
    assert not checkpoint.config.tied_head
    checkpoint.check_head()


def test_a_head_that_config_denies_is_refused_where_it_differs(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, "sdar")
    write_config(tmp_path, "sdar", tie_word_embeddings=True)
    with pytest.raises(WeightsError, match=r"differs from 'model\.embed_tokens\.weight', but"):
        Checkpoint.open(folder).check_head()


@pytest.mark.parametrize("bias", [True, False])
def test_wedlm_has_norms_or_biases_as_its_tensors_say(tmp_path: Path, bias: bool) -> None:
    switches = {"attention_bias": bias, "qk_norm": not bias}
    folder = write_checkpoint(tmp_path, "wedlm", **switches)
    config = Checkpoint.open(folder).config
    assert (config.qkv_bias, config.qk_norm) == (bias, not bias)
    write_config(folder, "wedlm", attention_bias=bias, qk_norm=...)  # its engine derives it
    assert Checkpoint.open(folder).config.qk_norm is not bias
    for field, value in switches.items():
        write_config(folder, "wedlm", **switches | {field: not value})
        with pytest.raises(ConfigError, match=f"'{field}': got .*, expected .*: .*(hold|ends)"):
            Checkpoint.open(folder)


def test_heads_may_be_wider_than_the_model(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, "nemotron", head_dim=8)
    shapes = {name: one.shape for name, one in Checkpoint.open(folder).tensors.items()}
    assert shapes["layers.0.q_proj.weight"] == (32, 16)
    assert shapes["layers.0.o_proj.weight"] == (16, 32)
    write_config(tmp_path, "a2d-bd3lm")
    assert read_config(tmp_path, told=Told(family="a2d-bd3lm"))[1].head_dim == 4  # 16 / 4 heads
