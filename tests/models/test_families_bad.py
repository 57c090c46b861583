"""Configurations of every family that are broken, odd or of something else: one clear line each."""

from pathlib import Path
from typing import Any

import pytest

from dawn_models import CheckpointError, Told, read_config
from support.checkpoints import CONFIGS, told_of, write_config

BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"hidden_size": "16"}, "'hidden_size': got \"16\""),
    ({"hidden_size": 0}, "'hidden_size': got 0, expected an integer of at least 1"),
    ({"hidden_size": None, "head_dim": 4}, "'hidden_size': got nothing"),
    ({"num_attention_heads": 0}, "'num_attention_heads': got 0"),
    ({"num_attention_heads": True}, "'num_attention_heads': got true"),
    ({"num_key_value_heads": 3}, "3 key/value heads do not divide 4"),
    ({"num_hidden_layers": 10**9}, "'num_hidden_layers': got 1000000000, expected .* at most"),
    ({"num_hidden_layers": -1}, "'num_hidden_layers': got -1"),
    ({"vocab_size": 39}, "token id 39 of mask, eos or pad is outside the vocabulary of 39"),
    ({"vocab_size": 2**40}, "'vocab_size': got .*, expected an integer of at most"),
    ({"head_dim": 5}, "heads of width 5, expected an even width"),
    ({"head_dim": 2.5}, "'head_dim': got 2.5"),
    ({"rms_norm_eps": 0}, "'rms_norm_eps': got 0, expected a finite number above 0"),
    ({"hidden_act": "gelu"}, '\'hidden_act\': got "gelu", expected "silu"'),
    ({"tie_word_embeddings": "yes"}, "'tie_word_embeddings': got \"yes\", expected true or false"),
    ({"layer_types": ["sliding_attention"]}, "'layer_types': got"),
    ({"use_sliding_window": True}, "'use_sliding_window': got true"),
    ({"num_experts": 8}, "'num_experts': got 8, expected no such field"),
    ({"mask_token_id": -1}, "'mask_token_id': got -1, expected an integer of at least 0"),
    ({"mask_token_id": 38}, r"token ids \[38\] .* are never predicted, but one of them ends"),
    ({"eos_token_id": "</s>"}, "'eos_token_id': got \"</s>\""),
    ({"quantization_config": {"quant_method": "awq"}}, "these are stored as AWQ"),
    ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "'rope_scaling': got"),
    ({"max_position_embeddings": 0}, "'max_position_embeddings': got 0"),
]
OWN: list[tuple[str, dict[str, Any], str]] = [
    ("a2d-mdlm", {"attention_bias": True}, "'attention_bias': got true, expected false or null"),
    ("a2d-mdlm", {"model_type": "a2d-llama"}, "this is Tiny-A2D, .* not supported yet"),
    ("open-dcoder", {"model_type": "qwen2_moe"}, "this is a causal language model"),
    ("coda", {"attention_bias": True}, "'attention_bias': got true"),
    ("coda", {"model_type": "coda"}, "'model_type': got \"coda\""),
    ("sdar", {"attention_bias": True}, "'attention_bias': got true"),
    ("sdar", {"block_size": 0}, "'block_size': got 0, expected an integer of at least 1"),
    ("sdar", {"block_size": "4"}, "'block_size': got \"4\""),
    ("sdar", {"model_type": "sdar_moe"}, "this is SDAR-MoE, a mixture of experts"),
    ("sdar", {"architectures": ["SDARMoeForCausalLM"]}, "this is SDAR-MoE"),
    ("sdar", {"architectures": ["Qwen3ForCausalLM"]}, "a model of another kind under SDAR's name"),
    ("dream-reasoner", {"attention_bias": True}, "'attention_bias': got true"),
    ("dream-reasoner", {"block_size": [32]}, "'block_size': got \\[32\\]"),
    ("fast-dllm-v2", {"bd_size": -32}, "'bd_size': got -32"),
    ("fast-dllm-v2", {"bd_size": True}, "'bd_size': got true"),
    ("wedlm", {"qk_norm": 1}, "'qk_norm': got 1, expected true or false"),
    ("wedlm", {"attention_bias": "no"}, "'attention_bias': got \"no\""),
    ("illada", {"attention_bias": True}, "'attention_bias': got true"),
    ("illada", {"mlp_bias": True}, "'mlp_bias': got true"),
    ("nemotron", {"attention_bias": True}, "'attention_bias': got true"),
    ("nemotron", {"dlm_paradigm": "autoregressive"}, "'dlm_paradigm': got \"autoregressive\""),
    ("nemotron", {"block_size": 0}, "'block_size': got 0"),
]
READERS = [name for name in CONFIGS if name not in ("dream", "llada")]
CASES = [
    *((name, changes, message) for name in READERS for changes, message in BROKEN),
    *OWN,
]


@pytest.mark.parametrize(("family", "changes", "message"), CASES)
def test_a_bad_file_is_one_clear_line(
    tmp_path: Path, family: str, changes: dict[str, Any], message: str
) -> None:
    write_config(tmp_path, family, **changes)
    if family == "nemotron" and "rope_scaling" in changes:
        message = "'rope_(scaling|parameters)': got"
    # What has to be said is said, unless the file is of something else.
    told = told_of(family) if "model_type" not in changes else Told()
    with pytest.raises(CheckpointError, match=message) as caught:
        read_config(tmp_path, told=told)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
