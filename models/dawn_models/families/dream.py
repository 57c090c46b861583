"""Dream: Qwen2.5 geometry, bidirectional, row i - 1 predicts token i."""

from __future__ import annotations

import re

from dawn_models.config import ModelConfig
from dawn_models.families import rope
from dawn_models.families.family import MAX_LAYERS, Family, head_dim_of
from dawn_models.families.ids import eos_token_ids, mask_token_id, pad_token_id
from dawn_models.families.table import FieldTable
from dawn_models.fields import Fields

_LAYER = "model.layers.{i}."


_TABLE = FieldTable(
    read=frozenset(
        (
            *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
            *("num_attention_heads", "num_key_value_heads", "max_position_embeddings"),
            *("rms_norm_eps", "tie_word_embeddings", *rope.FIELDS),
            *("mask_token_id", "eos_token_id", "pad_token_id"),
        )
    ),
    required={"hidden_act": ("silu",)},
    harmless=frozenset(),
    aliases={"head_dim": "head_dim", "rotary_dim": "head_dim", "layer_norm_eps": "norm_eps"},
)


def _parse(config: Fields, generation: Fields) -> ModelConfig:
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
        rope_theta=rope.rope_theta(config),
        norm_eps=config.positive("rms_norm_eps"),
        qkv_bias=True,
        qk_norm=False,
        tied_head=config.boolean("tie_word_embeddings", default=False),
        shift=1,
        mask_token_id=mask_token_id(config, generation),
        eos_token_ids=eos_token_ids(config, generation),
        pad_token_id=pad_token_id(config, generation),
    )


DREAM = Family(
    name="dream",
    model_type="Dream",
    parse=_parse,
    table=_TABLE,
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
