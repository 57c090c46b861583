"""Tiny-A2D: small Qwen2 and Qwen3 models that denoise (code: dllm), trained in one of two ways.

mdlm attends to everything, bd3lm block by block. Their files are alike to the last field; only the
names of the published checkpoints say which is which.
"""

from __future__ import annotations

from dataclasses import replace

from dawn_models.config import BLOCK_CAUSAL, Attention, ModelConfig
from dawn_models.families import qwen
from dawn_models.families.family import (
    LOGITS_AND_TEXT,
    Decoding,
    Family,
    Release,
    block_length_of,
)
from dawn_models.families.table import FieldTable
from dawn_models.fields import Fields

_QWEN3 = "a2d-qwen3"
_BLOCK_FIELD = "block_size"
_BLOCK_LENGTH = 32
"""Of the training of every published checkpoint; it is in none of their files."""

_TABLE = FieldTable(
    read=qwen.FIELDS | {"head_dim"},
    required={"hidden_act": ("silu",)},
    harmless=frozenset(),
)


def _mdlm(config: Fields, generation: Fields) -> ModelConfig:
    return _parse(config, generation, "a2d-mdlm", Attention())


def _bd3lm(config: Fields, generation: Fields) -> ModelConfig:
    length = block_length_of(config, _BLOCK_FIELD, default=_BLOCK_LENGTH)
    attention = Attention(BLOCK_CAUSAL, length, origin="prompt")
    return _parse(config, generation, "a2d-bd3lm", attention)


def _parse(config: Fields, generation: Fields, family: str, attention: Attention) -> ModelConfig:
    is_qwen3 = config.values["model_type"] == _QWEN3
    if is_qwen3:
        # It would give o_proj one too.
        config.require("attention_bias", False, None)
    return qwen.qwen_config(
        config,
        generation,
        family=family,
        shift=0,
        qkv_bias=not is_qwen3,
        qk_norm=is_qwen3,
        attention=attention,
    )


A2D_MDLM = Family(
    name="a2d-mdlm",
    model_type=_QWEN3,
    other_types=("a2d-qwen2",),
    classes=("A2DQwen2LMHeadModel", "A2DQwen3LMHeadModel"),
    ambiguous="it may attend to everything (mdlm) or block by block (bd3lm)",
    parse=_mdlm,
    settle=qwen.settled,
    table=_TABLE,
    weight_names=qwen.WEIGHT_NAMES,
    end_tokens=qwen.END_TOKENS,
    mask_names=(qwen.MASK_TOKEN,),
    ignored=qwen.IGNORED,
    decoding=Decoding("llada", {"steps": 128, "schedule": "rounded"}, max_new_tokens=128),
    golden=LOGITS_AND_TEXT,
    releases=(
        Release("a2d-0.6b", "dllm-hub/Qwen3-0.6B-diffusion-mdlm-v0.1", size="0.6B"),
        Release(
            "a2d-coder-0.5b",
            "dllm-hub/Qwen2.5-Coder-0.5B-Instruct-diffusion-mdlm-v0.1",
            size="0.5B",
        ),
    ),
)

A2D_BD3LM = replace(
    A2D_MDLM,
    name="a2d-bd3lm",
    attention=BLOCK_CAUSAL,
    parse=_bd3lm,
    table=replace(_TABLE, read=_TABLE.read | {_BLOCK_FIELD}),
    block_field=_BLOCK_FIELD,
    golden=LOGITS_AND_TEXT,
    releases=(
        Release("a2d-0.6b-bd3lm", "dllm-hub/Qwen3-0.6B-diffusion-bd3lm-v0.1", size="0.6B"),
        Release(
            "a2d-coder-0.5b-bd3lm",
            "dllm-hub/Qwen2.5-Coder-0.5B-Instruct-diffusion-bd3lm-v0.1",
            size="0.5B",
        ),
    ),
)
