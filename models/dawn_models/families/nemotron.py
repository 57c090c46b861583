"""Nemotron-Labs-Diffusion: Llama geometry with YaRN; causal, a block of masks bidirectional.

Committed tokens see causally, the block that is being denoised sees itself whole. The causal row i
predicts token i + 1, the row of a mask token i, so nothing is shifted. Instruct models have an
adapter of o_proj, with which drafts are made that causal rows then check.
"""

from __future__ import annotations

from dataclasses import replace

from dawn_models.config import CAUSAL, Attention, ModelConfig
from dawn_models.families import qwen, rope
from dawn_models.families.family import Decoding, Family, Release, block_length_of, stored_head
from dawn_models.families.table import FieldTable
from dawn_models.fields import Fields

_BLOCK_FIELD = "block_size"
_LICENCE = "NVIDIA Nemotron Open Model"
_WEIGHT_NAMES = {
    parameter: name.replace("model.", "encoder.", 1)
    for parameter, name in qwen.WEIGHT_NAMES.items()
} | {
    "head.weight": "diffusion_head.weight",
    "draft_a.weight": "base_model.model.encoder.layers.{i}.self_attn.o_proj.lora_A.weight",
    "draft_b.weight": "base_model.model.encoder.layers.{i}.self_attn.o_proj.lora_B.weight",
}


def _parse(config: Fields, generation: Fields) -> ModelConfig:
    scaled = rope.read(config)
    attention = Attention(
        CAUSAL, block_length_of(config, _BLOCK_FIELD), origin="prompt", carry=True
    )
    read = qwen.qwen_config(
        config,
        generation,
        family="nemotron",
        shift=0,
        attention=attention,
        rope_theta=scaled.theta,
    )
    return replace(read, yarn=scaled.yarn, max_length=_longest(config, read.max_length, scaled))


def _longest(config: Fields, stated: int, scaled: rope.Rope) -> int:
    """Longest sequence: beyond that of the training, queries are scaled by their position."""
    if scaled.yarn is None or not scaled.query_scaling or stated <= scaled.yarn.original_length:
        return stated
    longest = scaled.yarn.original_length
    config.notes.append(
        f"max_position_embeddings is {stated}, the longest sequence here {longest}: from there on "
        "queries are scaled (llama_4_scaling_beta), which is not implemented"
    )
    return longest


NEMOTRON = Family(
    name="nemotron",
    model_type="nemotron_labs_diffusion",
    classes=("NemotronLabsDiffusionModel",),
    parse=_parse,
    settle=stored_head(_WEIGHT_NAMES["head.weight"]),
    table=FieldTable(
        read=qwen.FIELDS | {"head_dim", _BLOCK_FIELD},
        required={
            "hidden_act": ("silu",),
            "attention_bias": (False, None),
            "sliding_window": (None,),  # the model it was made of has no switch beside it
            "dlm_paradigm": ("bidirectional", "block_diff", None),
        },
        harmless=frozenset(("dlm_loss_weight", "ar_loss_weight", "dp_varying_mask_ratio")),
    ),
    weight_names=_WEIGHT_NAMES,
    end_tokens=(),
    block_field=_BLOCK_FIELD,
    draft_folder="linear_spec_lora",
    attention=CAUSAL,
    decoding=Decoding("threshold", {"threshold": 0.9}),
    releases=(
        Release("nemotron-3b", "nvidia/Nemotron-Labs-Diffusion-3B", _LICENCE, "3.8B"),
        Release("nemotron-3b-base", "nvidia/Nemotron-Labs-Diffusion-3B-Base", _LICENCE, "3.8B"),
        Release("nemotron-8b", "nvidia/Nemotron-Labs-Diffusion-8B", _LICENCE, "8B"),
        Release("nemotron-8b-base", "nvidia/Nemotron-Labs-Diffusion-8B-Base", _LICENCE, "8B"),
    ),
)
