"""The geometry of Qwen2 and Qwen3, which many families start from: fields and names of weights.

They differ in switches alone: Qwen2 has biases in front of attention, Qwen3 has norms of queries
and keys there and gives the width of a head.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from dawn_models.config import BLOCK_CAUSAL, Attention, ModelConfig
from dawn_models.families import rope
from dawn_models.families.family import MAX_LAYERS, block_length_of, head_dim_of, stored_head
from dawn_models.families.ids import eos_token_ids, mask_token_id, pad_token_id
from dawn_models.fields import Fields

_LAYER = "model.layers.{i}."

FIELDS: Final = frozenset(
    (
        *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
        *("num_attention_heads", "num_key_value_heads", "max_position_embeddings"),
        *("rms_norm_eps", "tie_word_embeddings", *rope.FIELDS),
        *("mask_token_id", "eos_token_id", "pad_token_id"),
    )
)
"""What `qwen_config` reads, the width of a head aside."""

END_TOKENS: Final = ("<|im_end|>", "<|endoftext|>")
"""Tokens of Qwen's tokenizers that end an answer."""

MASK_TOKEN: Final = "<|mask|>"
"""What most families add to Qwen's tokenizers; Qwen itself has no mask."""

WEIGHT_NAMES: Final[Mapping[str, str]] = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
    "attention_norm.weight": _LAYER + "input_layernorm.weight",
    "q_proj.weight": _LAYER + "self_attn.q_proj.weight",
    "q_proj.bias": _LAYER + "self_attn.q_proj.bias",
    "k_proj.weight": _LAYER + "self_attn.k_proj.weight",
    "k_proj.bias": _LAYER + "self_attn.k_proj.bias",
    "v_proj.weight": _LAYER + "self_attn.v_proj.weight",
    "v_proj.bias": _LAYER + "self_attn.v_proj.bias",
    "q_norm.weight": _LAYER + "self_attn.q_norm.weight",
    "k_norm.weight": _LAYER + "self_attn.k_norm.weight",
    "o_proj.weight": _LAYER + "self_attn.o_proj.weight",
    "mlp_norm.weight": _LAYER + "post_attention_layernorm.weight",
    "gate_proj.weight": _LAYER + "mlp.gate_proj.weight",
    "up_proj.weight": _LAYER + "mlp.up_proj.weight",
    "down_proj.weight": _LAYER + "mlp.down_proj.weight",
}
"""Parameter of our transformer -> tensor of the checkpoint, as `Family` wants it."""

IGNORED: Final = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")
"""Tensors that carry nothing that is learned."""


def qwen_config(
    config: Fields,
    generation: Fields,
    *,
    family: str,
    shift: int,
    head_dim: int | None = None,
    qkv_bias: bool = False,
    qk_norm: bool = False,
    attention: Attention | None = None,
    rope_theta: float | None = None,
) -> ModelConfig:
    """Read the fields of this geometry; the switches are the family's.

    Args:
        config: config.json.
        generation: generation_config.json.
        family: name of the family.
        shift: as in `ModelConfig`.
        head_dim: width of a head; None is ``head_dim``, which need not be that of the model
            divided by the heads, or else that.
        qkv_bias: as in `ModelConfig`.
        qk_norm: as in `ModelConfig`.
        attention: as in `ModelConfig`; None is full.
        rope_theta: as in `ModelConfig`, where the family scales frequencies; None reads plain RoPE.

    Raises:
        ConfigError: a field is missing, has the wrong type, or is not implemented.
    """
    heads = config.integer("num_attention_heads", minimum=1)
    if head_dim is None:
        head_dim = _head_dim(config, heads)
    return ModelConfig(
        family=family,
        vocab_size=config.integer("vocab_size", minimum=1),
        hidden_size=config.integer("hidden_size", minimum=1),
        intermediate_size=config.integer("intermediate_size", minimum=1),
        num_layers=config.integer("num_hidden_layers", minimum=1, maximum=MAX_LAYERS),
        num_heads=heads,
        num_kv_heads=config.integer("num_key_value_heads", minimum=1, default=heads),
        head_dim=head_dim,
        max_length=config.integer("max_position_embeddings", minimum=1),
        rope_theta=rope.rope_theta(config) if rope_theta is None else rope_theta,
        norm_eps=config.positive("rms_norm_eps"),
        qkv_bias=qkv_bias,
        qk_norm=qk_norm,
        tied_head=config.boolean("tie_word_embeddings", default=False),
        shift=shift,
        mask_token_id=mask_token_id(config, generation),
        eos_token_ids=eos_token_ids(config, generation),
        pad_token_id=pad_token_id(config, generation),
        attention=attention or Attention(),
    )


def block_config(config: Fields, generation: Fields, *, family: str, field: str) -> ModelConfig:
    """Qwen3 geometry that is denoised in blocks from position 0 on, row i predicting token i.

    Args:
        config: fields of config.json.
        generation: fields of generation_config.json.
        family: its name.
        field: field of config.json with the length of a block.
    """
    attention = Attention(BLOCK_CAUSAL, block_length_of(config, field))
    return qwen_config(
        config, generation, family=family, shift=0, qk_norm=True, attention=attention
    )


def _head_dim(config: Fields, heads: int) -> int:
    if config.values.get("head_dim") is not None:
        return config.integer("head_dim", minimum=1)
    width = config.integer("hidden_size", minimum=1)
    return head_dim_of(config, "hidden_size", width, "num_attention_heads", heads)


settled: Final = stored_head(WEIGHT_NAMES["head.weight"])
"""As `Family.settle`: a head of its own if the files hold one, where no field says."""
