"""A field is read, switched off, known to do nothing, or refused by name; none is lost silently."""

import json
from pathlib import Path
from typing import Any

import pytest

from dawn_models import ConfigError, read_config
from support.checkpoints import write_config

FAMILIES = ("dream", "llada")

PUBLISHED: dict[str, dict[str, Any]] = {
    "dream": {
        "architectures": ["DreamModel"],
        "attention_dropout": 0.0,
        "auto_map": {"AutoConfig": "configuration_dream.DreamConfig"},
        "bos_token_id": 37,
        "initializer_range": 0.02,
        "max_window_layers": 28,
        "rope_scaling": None,
        "sliding_window": None,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.46.2",
        "use_cache": True,
        "use_sliding_window": False,
    },
    "llada": {
        "alibi": False,
        "alibi_bias_max": 8.0,
        "architectures": ["LLaDAModelLM"],
        "attention_dropout": 0.0,
        "attention_layer_norm": False,
        "attention_layer_norm_with_affine": True,
        "auto_map": {"AutoConfig": "configuration_llada.LLaDAConfig"},
        "bias_for_layer_norm": False,
        "block_group_size": 1,
        "embedding_dropout": 0.0,
        "flash_attention": False,
        "include_bias": False,
        "include_qkv_bias": False,
        "init_cutoff_factor": None,
        "init_device": "meta",
        "init_fn": "mitchell",
        "init_std": 0.02,
        "input_emb_norm": False,
        "mlp_ratio": 4,
        "multi_query_attention": None,
        "precision": "amp_bf16",
        "residual_dropout": 0.0,
        "rope_full_precision": True,
        "scale_logits": False,
        "transformers_version": "4.46.3",
        "use_cache": False,
    },
}
"""What the published checkpoints hold beside their sizes."""


def notes_of(folder: Path, family: str, **changes: Any) -> list[str]:
    write_config(folder, family, **changes)
    notes: list[str] = []
    read_config(folder, notes)
    return notes


@pytest.mark.parametrize("family", FAMILIES)
def test_what_published_checkpoints_hold_is_read_without_a_word(
    tmp_path: Path, family: str
) -> None:
    assert notes_of(tmp_path, family, **PUBLISHED[family]) == []


CHANGING: dict[str, Any] = {
    "partial_rotary_factor": 0.5,
    "rotary_pct": 0.25,
    "rotary_base": 500000,
    "rope_local_base_freq": 10000.0,
    "no_rope_layers": [1, 0],
    "head_dim": 8,
    "mlp_bias": True,
    "use_sliding_window": True,
    "layer_types": ["full_attention", "sliding_attention"],
    "use_qk_norm": True,
    "qk_layernorm": True,
    "attention_multiplier": 1.0,
    "embedding_multiplier": 12.0,
    "residual_multiplier": 0.22,
    "logits_scaling": 8.0,
    "logit_soft_cap": 30.0,
    "final_logit_softcapping": 30.0,
    "attn_logit_softcapping": 50,
    "query_pre_attn_scalar": 256,
    "clip_qkv": 8.0,
    "parallel_attn": True,
    "is_decoder": True,
    "is_causal": True,
    "position_embedding_type": "alibi",
    "num_local_experts": 8,
    "transformers_weights": "other.safetensors",
    "text_config": {"hidden_size": 3},
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("field", CHANGING)
def test_what_changes_the_mathematics_is_refused_by_name(
    tmp_path: Path, family: str, field: str
) -> None:
    with pytest.raises(ConfigError, match=rf"config\.json: field '{field}': got ") as caught:
        notes_of(tmp_path, family, **{field: CHANGING[field]})
    assert "\n" not in str(caught.value)


OFF: dict[str, Any] = {
    "partial_rotary_factor": 1.0,
    "head_dim": 4,
    "mlp_bias": False,
    "sliding_window": 4096,
    "layer_types": ["full_attention", "full_attention"],
    "use_qk_norm": False,
    "attention_multiplier": 0.5,  # that of heads of width 4
    "residual_multiplier": 1,
    "logits_scaling": 1.0,
    "logit_soft_cap": None,
    "final_logit_softcapping": 0,
    "query_pre_attn_scalar": 4,
    "attention_bias": False,
    "hidden_dropout": 0.1,
    "use_flash_attn": True,
    "num_local_experts": 0,
    "pruned_heads": {},
    "quantization_config": None,
    "hidden_act": "silu",
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("field", OFF)
def test_what_is_switched_off_is_read_without_a_word(
    tmp_path: Path, family: str, field: str
) -> None:
    assert notes_of(tmp_path, family, **{field: OFF[field]}) == []


def test_a_bias_that_we_would_leave_out_is_refused_and_one_we_have_is_not(tmp_path: Path) -> None:
    assert notes_of(tmp_path, "dream", attention_bias=True) == []
    with pytest.raises(ConfigError, match="'attention_bias': got true, expected false or null"):
        notes_of(tmp_path, "llada", attention_bias=True)


def test_what_nobody_knows_and_nothing_says_is_dangerous_is_noted(tmp_path: Path) -> None:
    found = notes_of(tmp_path, "dream", wandb="x", fixed=True, off=None)
    assert found == ["config.json: not known and not read: 'fixed', 'wandb'"]


@pytest.mark.parametrize("method", ["awq", "gptq", "bitsandbytes", "fp8", "new", 3])
def test_rounded_weights_are_refused_by_the_name_of_their_format(
    tmp_path: Path, method: object
) -> None:
    with pytest.raises(ConfigError, match=r"'quantization_config'.*--precision int8 or int4"):
        notes_of(tmp_path, "dream", quantization_config={"quant_method": method})


@pytest.mark.parametrize(
    ("changes", "heads"),
    [
        ({"multi_query_attention": True, "n_kv_heads": None}, 1),
        ({"multi_query_attention": True, "n_kv_heads": 1}, 1),
        ({"multi_query_attention": False}, 4),
        ({"multi_query_attention": None, "n_kv_heads": 2}, 2),
    ],
)
def test_two_ways_to_say_how_many_key_heads_must_agree(
    tmp_path: Path, changes: dict[str, Any], heads: int
) -> None:
    write_config(tmp_path, "llada", **changes)
    assert read_config(tmp_path)[1].num_kv_heads == heads


@pytest.mark.parametrize(("single", "number"), [(True, 4), (False, 2)])
def test_two_ways_that_do_not_agree_are_refused(tmp_path: Path, single: bool, number: int) -> None:
    with pytest.raises(ConfigError, match=r"'n_kv_heads': got \d, expected .* multi_query_attent"):
        notes_of(tmp_path, "llada", multi_query_attention=single, n_kv_heads=number)


def test_names_of_other_families_must_repeat_the_sizes(tmp_path: Path) -> None:
    assert notes_of(tmp_path, "llada", hidden_size=16, num_hidden_layers=2) == []
    with pytest.raises(ConfigError, match="'hidden_size': got 32, expected 16"):
        notes_of(tmp_path, "llada", hidden_size=32)
    (note,) = notes_of(tmp_path, "llada", tie_word_embeddings=True)
    assert "'tie_word_embeddings' is true and not read" in note


def write_generation(folder: Path, **values: Any) -> None:
    (folder / "generation_config.json").write_text(json.dumps(values))


def test_the_mask_may_stand_in_either_file_but_not_two_masks(tmp_path: Path) -> None:
    write_generation(tmp_path, mask_token_id=39)
    write_config(tmp_path, "dream", mask_token_id=...)
    assert read_config(tmp_path)[1].mask_token_id == 39
    assert notes_of(tmp_path, "dream") == []
    with pytest.raises(ConfigError, match=r"'mask_token_id': got 39, expected 12 as config\.json"):
        notes_of(tmp_path, "dream", mask_token_id=12)


def test_other_ids_are_those_of_generation_config_and_what_is_left_is_said(
    tmp_path: Path,
) -> None:
    write_generation(tmp_path, eos_token_id=[3, 38], pad_token_id=38)
    assert notes_of(tmp_path, "dream") == []
    write_generation(tmp_path, eos_token_id=3, pad_token_id=5)
    eos, pad = notes_of(tmp_path, "dream")
    assert eos == (
        "eos_token_id: [3] of generation_config.json end an answer, [38] of config.json do not"
    )
    assert pad == "pad_token_id: 5 of generation_config.json is used, 38 of config.json is not"
    read = read_config(tmp_path)[1]
    assert (read.eos_token_ids, read.pad_token_id) == ((3,), 5)


KNOWN = [
    ("dream", {"model_type": "sdar_moe"}, "SDAR-MoE"),
    ("dream", {"model_type": "a2d-llama"}, "Tiny-A2D"),
    ("llada", {"model_type": "llada2_moe"}, "LLaDA 2"),
    ("llada", {"num_experts": 64}, "LLaDA-MoE"),
    ("llada", {"architectures": ["LLaDAMoEModelLM"]}, "LLaDA-MoE"),
    ("llada", {"model_type": "llama"}, "a causal language model"),
]


@pytest.mark.parametrize(("family", "changes", "name"), KNOWN)
def test_a_model_that_is_known_and_not_supported_is_named(
    tmp_path: Path, family: str, changes: dict[str, Any], name: str
) -> None:
    with pytest.raises(ConfigError, match=f"'Dream' or 'llada' .*; this is {name}.* not supported"):
        notes_of(tmp_path, family, **changes)
