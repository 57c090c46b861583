"""Dream: Qwen2.5 geometry, bidirectional, row i - 1 predicts token i."""

from __future__ import annotations

import re

from dawn_models.config import ModelConfig
from dawn_models.families.family import MAX_LAYERS, Family, head_dim_of
from dawn_models.fields import Fields

_LAYER = "model.layers.{i}."


def _parse(config: Fields, generation: Fields) -> ModelConfig:
    config.require("hidden_act", "silu")
    config.require("rope_scaling", None)
    config.require("use_sliding_window", False, None)
    _require_plain_rope(config)
    hidden_size = config.integer("hidden_size", minimum=1)
    heads = config.integer("num_attention_heads", minimum=1)
    return ModelConfig(
        family="dream",
        vocab_size=config.integer("vocab_size", minimum=1),
        hidden_size=hidden_size,
        intermediate_size=config.integer("intermediate_size", minimum=1),
        num_layers=config.integer("num_hidden_layers", minimum=1, maximum=MAX_LAYERS),
        num_heads=heads,
        num_kv_heads=config.integer("num_key_value_heads", minimum=1, default=heads),
        head_dim=head_dim_of(config, "hidden_size", hidden_size, "num_attention_heads", heads),
        max_length=config.integer("max_position_embeddings", minimum=1),
        rope_theta=_rope_theta(config),
        norm_eps=config.positive("rms_norm_eps"),
        qkv_bias=True,
        qk_norm=False,
        tied_head=config.boolean("tie_word_embeddings", default=False),
        shift=1,
        mask_token_id=config.integer("mask_token_id"),
        eos_token_ids=generation.token_ids("eos_token_id") or config.token_ids("eos_token_id"),
        pad_token_id=config.optional_integer("pad_token_id"),
    )


def _require_plain_rope(config: Fields) -> None:
    """Newer transformers write ``rope_parameters`` in place of ``rope_theta``/``rope_scaling``."""
    parameters = config.values.get("rope_parameters")
    if parameters is None:
        return
    if not isinstance(parameters, dict) or parameters.get("rope_type", "default") != "default":
        raise config.error(
            "rope_parameters", parameters, "rope_type 'default', the only one implemented"
        )


def _rope_theta(config: Fields) -> float:
    parameters = config.values.get("rope_parameters") or {}
    return Fields({**parameters, **config.values}, config.path).positive("rope_theta")


DREAM = Family(
    name="dream",
    model_type="Dream",
    parse=_parse,
    weight_names={
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
        "o_proj.weight": _LAYER + "self_attn.o_proj.weight",
        "mlp_norm.weight": _LAYER + "post_attention_layernorm.weight",
        "gate_proj.weight": _LAYER + "mlp.gate_proj.weight",
        "up_proj.weight": _LAYER + "mlp.up_proj.weight",
        "down_proj.weight": _LAYER + "mlp.down_proj.weight",
    },
    end_tokens=("<|im_end|>", "<|endoftext|>"),
    ignored=re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"),
)
