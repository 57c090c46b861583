"""Every configuration value is either read or refused; nothing is dropped in silence."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dawn_models import FAMILIES, ConfigError, ModelConfig, read_config
from support.checkpoints import CONFIGS, write_config


def config(folder: Path, family: str, **changes: Any) -> ModelConfig:
    write_config(folder, family, **changes)
    return read_config(folder)[1]


def test_dream_is_qwen_geometry_with_a_shift(tmp_path: Path) -> None:
    read = config(tmp_path, "dream")
    assert (read.shift, read.qkv_bias, read.head_dim, read.num_kv_heads) == (1, True, 4, 2)
    assert (read.mask_token_id, read.eos_token_ids, read.max_length) == (39, (38,), 64)


def test_llada_predicts_in_place_and_has_no_bias(tmp_path: Path) -> None:
    read = config(tmp_path, "llada", n_kv_heads=None, mlp_hidden_size=None, mlp_ratio=3)
    assert (read.shift, read.qkv_bias, read.num_kv_heads) == (0, False, 4)
    assert read.intermediate_size == 48


def test_rope_parameters_of_newer_transformers_are_read(tmp_path: Path) -> None:
    rope = {"rope_type": "default", "rope_theta": 7.0}
    assert config(tmp_path, "dream", rope_theta=..., rope_parameters=rope).rope_theta == 7.0


def test_generation_config_wins_over_config_for_end_tokens(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [3, 4]}')
    assert config(tmp_path, "dream").eos_token_ids == (3, 4)


REFUSED = [
    ("dream", "rope_scaling", {"type": "yarn", "factor": 4.0}, "null"),
    ("dream", "rope_parameters", {"rope_type": "yarn", "rope_theta": 1e4}, "rope_type 'default'"),
    ("dream", "use_sliding_window", True, "false"),
    ("dream", "hidden_act", "gelu", '"silu"'),
    ("dream", "hidden_size", 18, "a multiple of num_attention_heads = 4"),
    ("dream", "hidden_size", "16", "an integer of at least 1"),
    ("dream", "num_hidden_layers", 0, "an integer of at least 1"),
    ("dream", "num_hidden_layers", True, "an integer of at least 1"),
    ("dream", "rms_norm_eps", 0, "a finite number above 0"),
    ("dream", "tie_word_embeddings", 1, "true or false"),
    ("dream", "mask_token_id", ..., "an integer of at least 0"),
    ("dream", "eos_token_id", [1, "2"], "a token id or a list of token ids"),
    ("llada", "include_bias", True, "false"),
    ("llada", "include_qkv_bias", True, "false"),
    ("llada", "bias_for_layer_norm", True, "false"),
    ("llada", "layer_norm_type", "default", '"rms"'),
    ("llada", "attention_layer_norm", True, "false"),
    ("llada", "alibi", True, "false"),
    ("llada", "rope", False, "true"),
    ("llada", "rope", 1, "true"),
    ("llada", "scale_logits", True, "false"),
    ("llada", "block_type", "sequential", '"llama"'),
    ("llada", "activation_type", "swiglu", '"silu"'),
]


@pytest.mark.parametrize(("family", "field", "value", "expected"), REFUSED)
def test_a_value_we_do_not_implement_is_refused_by_name(
    tmp_path: Path, family: str, field: str, value: object, expected: str
) -> None:
    with pytest.raises(ConfigError, match=r"config\.json") as caught:
        config(tmp_path, family, **{field: value})
    message = str(caught.value)
    assert f"field '{field}'" in message
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("family", "field"),
    [
        (family, field)
        for family, optional in {
            "dream": {"rope_scaling", "tie_word_embeddings", "num_key_value_heads"},
            "llada": {"weight_tying", "n_kv_heads", "mlp_hidden_size", "rms_norm_eps", "rope_theta"}
            | {"embedding_size"},
        }.items()
        for field in sorted(set(CONFIGS[family]) - optional - {"eos_token_id", "pad_token_id"})
    ],
)
def test_a_missing_field_is_named(tmp_path: Path, family: str, field: str) -> None:
    with pytest.raises(ConfigError, match=f"field '{field}': got nothing"):
        config(tmp_path, family, **{field: ...})


@pytest.mark.parametrize("changes", [{"num_key_value_heads": 3}, {"num_attention_heads": 16}])
def test_heads_must_fit_each_other(tmp_path: Path, changes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="heads"):
        config(tmp_path, "dream", **changes)


def test_special_tokens_lie_in_the_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="token id 40 of mask, eos or pad is outside"):
        config(tmp_path, "dream", mask_token_id=40)


@pytest.mark.parametrize("model_type", ["gpt2", None, ["Dream"], 3])
def test_an_unknown_model_type_names_the_known_ones(tmp_path: Path, model_type: object) -> None:
    with pytest.raises(ConfigError, match=r"'model_type'.*'Dream' or 'llada'"):
        config(tmp_path, "dream", model_type=model_type)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a": 1, "a": 2}', '"x"', "{" * 100_000, "\x00", "[" * 100_000]
)
def test_a_broken_json_file_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json") as caught:
        read_config(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'{"model_type": "\xff"}')
    with pytest.raises(ConfigError, match="not readable as JSON"):
        read_config(tmp_path)


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json: file not found"):
        read_config(tmp_path)


def test_a_family_that_is_added_is_read_whatever_was_said_of_its_type_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"this is MMaDA, .*, and not supported yet"):
        config(tmp_path, "dream", model_type="mmada")
    monkeypatch.setitem(FAMILIES, "mmada", replace(FAMILIES["Dream"], model_type="mmada"))
    assert config(tmp_path, "dream", model_type="mmada").family == "dream"
    assert config(tmp_path, "dream", block_size=32).family == "dream-reasoner"
