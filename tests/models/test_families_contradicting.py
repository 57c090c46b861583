"""Files that contradict each other, mix two families or leave open what they are: one line each.

Twenty and more for each kind of family, beside the malformed fields of `test_families_bad`; no two
of a kind end in the same words. Each is a sound checkpoint with one thing changed.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from dawn_export import ExportOptions
from dawn_models import Checkpoint, CheckpointError, Told, read_config
from dawn_runtime.errors import OptionError
from support.checkpoints import told_of, write_checkpoint, write_config

Tensors = dict[str, torch.Tensor]
LAYER = "model.layers.0."


@dataclass(frozen=True)
class Case:
    """A sound checkpoint and what is done to it.

    Attributes:
        family: whose it is.
        message: what the one line matches.
        changes: fields of config.json.
        files: further files, as JSON.
        spoil: changes the tensors, which fit the sound config.json.
        told: the user's words.
        named: whether the family is named where its files do not.
    """

    family: str
    message: str
    changes: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=dict)
    spoil: Callable[[Tensors], object] = lambda tensors: None
    told: dict[str, Any] = field(default_factory=dict)
    named: bool = True


def fields(family: str, message: str, /, **changes: Any) -> Case:
    return Case(family, message, changes)


def said(family: str, message: str, changes: dict[str, Any] | None = None, /, **told: Any) -> Case:
    return Case(family, message, changes or {}, told=told)


def tensors(family: str, message: str, spoil: Callable[[Tensors], object]) -> Case:
    return Case(family, message, spoil=spoil)


def without(part: str) -> Callable[[Tensors], object]:
    def spoil(held: Tensors) -> None:
        for name in [name for name in held if part in name]:
            del held[name]

    return spoil


def with_(name: str, *shape: int) -> Callable[[Tensors], object]:
    return lambda held: held.update({name: torch.zeros(shape, dtype=torch.bfloat16)})


def renamed(old: str, new: str) -> Callable[[Tensors], object]:
    def spoil(held: Tensors) -> None:
        for name in [name for name in held if old in name]:
            held[name.replace(old, new)] = held.pop(name)

    return spoil


def added(**ids: Any) -> dict[str, Any]:
    return {"added_tokens.json": ids}


NEVER = r"token ids \[{}\] .* are never predicted, but one of them ends an answer"
OUTSIDE = "token id {} of mask, eos or pad is outside the vocabulary of 40"
UNKNOWN = "'{}': got .*, expected no such field"
MASK = {"mask_token_id": ...}

FULL = [
    # Which model it is
    Case("a2d-mdlm", "--family a2d-mdlm or --family a2d-bd3lm beside it", named=False),
    Case("open-dcoder", "it may be a causal language model, .* or Open-dCoder", named=False),
    fields("a2d-mdlm", "'model_type': got nothing", model_type=...),
    fields("a2d-mdlm", r"'model_type': got \[\"a2d-qwen3\"\]", model_type=["a2d-qwen3"]),
    fields("open-dcoder", "'model_type': got \"qwen3\".*a causal language", model_type="qwen3"),
    fields("illada", "'activation_type': got nothing", model_type="llada"),
    fields(
        "coda",
        r"'architectures': got .* class of coda.*; WeDLMForCausalLM is one of wedlm",
        architectures=["WeDLMForCausalLM"],
    ),
    fields("illada", "SDARForCausalLM is one of sdar", architectures=["X", "SDARForCausalLM"]),
    # What it sees
    fields("a2d-mdlm", UNKNOWN.format("block_size"), block_size=32),
    said("coda", "trained block: got 8, but coda has no blocks", trained_block=8),
    fields("a2d-mdlm", UNKNOWN.format("dlm_paradigm"), dlm_paradigm="autoregressive"),
    fields("coda", UNKNOWN.format("is_causal"), is_causal=True),
    fields("illada", "'sliding_window': got 8, expected null", sliding_window=8),
    fields("coda", UNKNOWN.format("attention_type"), attention_type="block_causal"),
    # Fields of two families
    fields("illada", "'weight_tying': got false, expected true", weight_tying=False),
    fields("illada", "'n_kv_heads': got 4, expected 2", n_kv_heads=4),
    fields("a2d-mdlm", "'d_model': got 32, expected 16", d_model=32),
    fields("coda", "'n_layers': got 3, expected 2", n_layers=3),
    fields("illada", UNKNOWN.format("vision_config"), vision_config={"depth": 1}),
    # The mask and the end
    Case("coda", "or an added token '<|mask|>'; --mask-token-id N".replace("|", r"\|"), MASK),
    Case("coda", NEVER.format(38), MASK, added(**{"<|mask|>": 38})),
    Case("coda", OUTSIDE.format(400), MASK, added(**{"<|mask|>": 400})),
    said("illada", OUTSIDE.format(99), MASK, mask_token_id=99),
    fields("illada", NEVER.format(5), mask_token_id=5, eos_token_id=[38, 5]),
    Case("coda", "got 37, expected 39", files={"generation_config.json": {"mask_token_id": 37}}),
    Case("coda", OUTSIDE.format(77), files={"generation_config.json": {"eos_token_id": 77}}),
    # Tensors
    fields("a2d-mdlm", "k_proj.bias' is missing .*norms of queries", model_type="a2d-qwen2"),
    tensors("a2d-mdlm", "unexpected .*q_proj.bias", with_(LAYER + "self_attn.q_proj.bias", 24)),
    tensors("open-dcoder", "k_proj.bias' is missing .and 5 more.$", without(".bias")),
    fields("illada", "lm_head.weight' is missing; if the head", tie_word_embeddings=False),
    tensors("illada", "lm_head.weight' differs from", with_("lm_head.weight", 40, 16)),
    tensors("illada", "mixtures of experts", with_(LAYER + "mlp.experts.0.up_proj.weight", 4, 4)),
    tensors("coda", "peft .LoRA.", with_(LAYER + "self_attn.q_proj.lora_A.weight", 4, 16)),
    tensors(
        "coda", "rounded .compressed-tensors.", renamed("up_proj.weight", "up_proj.weight_packed")
    ),
    fields("coda", r"k_proj.weight' has shape \[12, 16\]", num_key_value_heads=4),
]

BLOCK_CAUSAL = [
    # The length of blocks
    fields("sdar", "got nothing, .*--trained-block N sets it", block_size=...),
    fields("sdar", "'block_size': got 4.5", block_size=4.5),
    fields("dream-reasoner", "'block_size': got 0", block_size=0),
    fields("dream-reasoner", "'block_size': got false", block_size=False),
    fields("fast-dllm-v2", "'bd_size': got \"32\"", bd_size="32"),
    fields("fast-dllm-v2", "'bd_size': got nothing", bd_size=..., block_size=32),
    fields("sdar", "'block_size': got 1099511627776, expected .* at most", block_size=2**40),
    fields("sdar", "blocks of 128 tokens, .*longest sequence, which is of 64", block_size=128),
    fields("a2d-bd3lm", "blocks of 32 tokens, .* which is of 20", max_position_embeddings=20),
    said("sdar", "got 4, expected 8 as --trained-block says", trained_block=8),
    said("sdar", "'block_size': got -3", {"block_size": ...}, trained_block=-3),
    said("fast-dllm-v2", "blocks of 100 tokens", {"bd_size": ...}, trained_block=100),
    # Fields of two families, and other attention
    fields("sdar", UNKNOWN.format("bd_size"), bd_size=32),
    fields("fast-dllm-v2", UNKNOWN.format("block_size"), block_size=4),
    fields("fast-dllm-v2", UNKNOWN.format("small_block_size"), small_block_size=8),
    fields("sdar", UNKNOWN.format("attention_type"), attention_type="causal"),
    fields("sdar", UNKNOWN.format("dlm_paradigm"), dlm_paradigm="bidirectional"),
    fields(
        "fast-dllm-v2", "'layer_types': got", layer_types=["full_attention", "sliding_attention"]
    ),
    fields("sdar", "a model of another kind under SDAR's name", architectures=["DreamForCausalLM"]),
    fields("dream-reasoner", "DreamModel is one of dream", architectures=["DreamModel"]),
    Case("a2d-bd3lm", "--family a2d-mdlm or --family a2d-bd3lm", named=False),
    fields("sdar", UNKNOWN.format("qk_norm"), qk_norm=True),
    fields("sdar", UNKNOWN.format("num_experts_per_tok"), num_experts_per_tok=8),
    fields("dream-reasoner", "'n_heads': got 8, expected 4", n_heads=8),
    # The mask
    Case("fast-dllm-v2", r"an added token '\|<MASK>\|'", MASK, added(**{"<|mask|>": 37})),
    Case("sdar", NEVER.format(38), MASK, added(**{"<|MASK|>": 38})),
    # RoPE, heads, tensors
    fields("sdar", "'rope_scaling': got", rope_scaling={"type": "yarn", "factor": 4.0}),
    fields(
        "dream-reasoner", "'rope_parameters.rope_theta': got 5", rope_parameters={"rope_theta": 5}
    ),
    fields("sdar", "lm_head.weight' differs from", tie_word_embeddings=True),
    tensors("sdar", "lm_head.weight' is missing; if the head", without("lm_head")),
    tensors("sdar", "k_norm.weight' is missing .and 3 more.$", without("_norm.weight")),
    tensors("fast-dllm-v2", "v_proj.bias' is missing .and 1 more.$", without("v_proj.bias")),
    tensors("fast-dllm-v2", "norms of queries", with_(LAYER + "self_attn.q_norm.weight", 4)),
    tensors("sdar", "rounded .GPTQ or AWQ.", renamed("o_proj.weight", "o_proj.qweight")),
]

CAUSAL = [
    # Norms and biases
    fields("wedlm", "'attention_bias': got true, expected false: no tensor", attention_bias=True),
    fields("wedlm", "'qk_norm': got false, expected true: the weights hold", qk_norm=False),
    fields("wedlm", "'qk_norm': got nothing", attention_bias=None, qk_norm=None),
    tensors("wedlm", "'qk_norm': got true, expected false: no tensor", without("q_norm")),
    tensors(
        "wedlm",
        "'model.layers.1.self_attn.k_norm.weight' is missing$",
        without("1.self_attn.k_norm"),
    ),
    # Blocks and windows, which are no part of it
    fields("wedlm", UNKNOWN.format("block_size"), block_size=16),
    said("wedlm", "trained block: got 16, but wedlm has no blocks", trained_block=16),
    fields("wedlm", UNKNOWN.format("window_size"), window_size=16),
    fields("wedlm", UNKNOWN.format("dlm_paradigm"), dlm_paradigm="block_diff"),
    # Sizes that tensors contradict
    fields("wedlm", "'model.layers.2.input_layernorm.weight' is missing", num_hidden_layers=3),
    fields("wedlm", "unexpected .*and 10 more.; .* without it$", num_hidden_layers=1),
    fields("wedlm", r"asks for \[48, 16\]", vocab_size=48),
    fields("wedlm", r"asks for \[40, 32\]", hidden_size=32),
    fields("wedlm", r"asks for \[24, 16\]", num_key_value_heads=...),
    fields("wedlm", r"asks for \[16, 16\]", head_dim=...),
    fields("wedlm", r"asks for \[32, 16\]", intermediate_size=32),
    # Other models
    fields("wedlm", "'model_type': got \"WeDLM\"", model_type="WeDLM"),
    fields("wedlm", "'model_type': got \"qwen3\".*a causal language model", model_type="qwen3"),
    fields("wedlm", "CoDALanguageModel is one of coda", architectures=["CoDALanguageModel"]),
    fields("wedlm", "'mlp_hidden_size': got 48, expected 24", mlp_hidden_size=48),
    said("wedlm", "'model_type': got .* for the family sdar", family="sdar"),
    tensors("wedlm", "unexpected tensor 'score.weight'", with_("score.weight", 2, 16)),
    tensors("wedlm", "'model.embed_tokens.weight' is missing", renamed("model.", "encoder.")),
    # The mask
    said("wedlm", "got 12, expected 39, mask_token_id of config.json", mask_token_id=12),
    Case("wedlm", NEVER.format(38), MASK, added(**{"<|mask|>": 38})),
]

WITH_BLOCKS = [
    # YaRN, in one of two places
    fields("nemotron", "'rope_parameters': got \"yarn\"", rope_parameters="yarn"),
    fields("nemotron", "'rope_theta': got nothing", rope_parameters={}),
    fields("nemotron", "got 1000000.0, expected 500000.0 as 'rope_theta'", rope_theta=5e5),
    fields("nemotron", "'rope_scaling': got", rope_scaling={"rope_type": "yarn", "factor": 2.0}),
    fields(
        "nemotron", "'factor': got nothing", rope_parameters={"rope_type": "yarn", "rope_theta": 9}
    ),
    fields("nemotron", "'factor' is 8", rope_parameters={"rope_type": "linear", "factor": 8}),
    # What it sees
    fields("nemotron", "'dlm_paradigm': got \"ar\"", dlm_paradigm="ar"),
    fields(
        "nemotron", "'dlm_paradigm': got \\[\"bidirectional\"\\]", dlm_paradigm=["bidirectional"]
    ),
    fields("nemotron", "'sliding_window': got 16, expected null", sliding_window=16),
    fields("nemotron", "'layer_types': got", layer_types=["sliding_attention", "full_attention"]),
    fields("nemotron", "'block_size': got nothing", block_size=...),
    fields("nemotron", "'block_size': got \"32\"", block_size="32"),
    fields("nemotron", "blocks of 50 tokens, .* which is of 48", block_size=50),
    said("nemotron", "'block_size': got 32, expected 16 as --trained-block", trained_block=16),
    fields("nemotron", UNKNOWN.format("bd_size"), bd_size=32),
    # Which model it is
    fields("nemotron", "WeDLMForCausalLM is one of wedlm", architectures=["WeDLMForCausalLM"]),
    fields("nemotron", "'model_type': got \"nemotron\"", model_type="nemotron"),
    fields("nemotron", "'n_head': got 2, expected 4", n_head=2),
    # The mask
    fields("nemotron", "'mask_token_id': got nothing, .*mask_token of the tokenizer; --", **MASK),
    Case("nemotron", OUTSIDE.format(100), MASK, told={"mask_token_id": 100}),
    # Tensors
    fields("nemotron", "'diffusion_head.weight' differs from", tie_word_embeddings=True),
    tensors("nemotron", "is missing; if the head is the embedding", without("diffusion_head")),
    tensors(
        "nemotron", "'diffusion_head.weight' is missing$", renamed("diffusion_head", "lm_head")
    ),
    tensors("nemotron", "'encoder.embed_tokens.weight' is missing", renamed("encoder.", "model.")),
    tensors("nemotron", "norms of queries", with_("encoder.layers.0.self_attn.q_norm.weight", 6)),
    tensors("nemotron", "peft", with_("encoder.layers.0.self_attn.o_proj.lora_A.weight", 6, 6)),
    fields("nemotron", r"asks for \[32, 16\]", head_dim=8),
    fields("nemotron", "stored as FP8", quantization_config={"quant_method": "fp8"}),
]

KINDS = {
    "full": FULL,
    "block-causal": BLOCK_CAUSAL,
    "causal": CAUSAL,
    "causal with blocks": WITH_BLOCKS,
}
CASES = [case for cases in KINDS.values() for case in cases]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.family}: {case.message:.40}")
def test_what_contradicts_itself_is_one_clear_line(tmp_path: Path, case: Case) -> None:
    write_checkpoint(tmp_path, case.family, case.spoil)
    write_config(tmp_path, case.family, **case.changes)
    for name, content in case.files.items():
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    told = Told(**case.told).or_else(told_of(case.family) if case.named else Told())
    with pytest.raises(CheckpointError, match=case.message) as caught:
        Checkpoint.open(tmp_path, told).check_head()
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 1000


@pytest.mark.parametrize("kind", KINDS)
def test_there_are_enough_of_every_kind(kind: str) -> None:
    messages = {case.message for case in KINDS[kind]}
    assert len(messages) == len(KINDS[kind]) >= 20


ALLOWED = [
    fields("a2d-mdlm", "", d_model=16, n_layers=2, architectures=["A2DQwen3LMHeadModel"]),
    fields("illada", "", architectures=["LLaDAModelLM"], sliding_window=None, weight_tying=True),
    fields("coda", "", architectures="CoDALanguageModel"),
    fields("sdar", "", block_size=64, architectures=["SDARForCausalLM"]),
    fields("nemotron", "", block_size=48, architectures=["OurOwnModel"]),
    fields("wedlm", "", sliding_window=4096, use_sliding_window=False),
]


@pytest.mark.parametrize("case", ALLOWED, ids=lambda case: case.family)
def test_what_agrees_is_read(tmp_path: Path, case: Case) -> None:
    write_checkpoint(tmp_path, case.family, **case.changes)
    assert Checkpoint.open(tmp_path, told_of(case.family)).family.name == case.family


def test_a_context_shorter_than_a_block_is_refused(tmp_path: Path) -> None:
    write_config(tmp_path, "sdar", block_size=16)
    config = read_config(tmp_path)[1]
    options = ExportOptions(evidence_layers=2, context_length=16)
    options.check_model(config)
    with pytest.raises(OptionError, match="got 15, but the model decides in whole blocks of 16"):
        ExportOptions(evidence_layers=2, context_length=15).check_model(config)
