"""LLaDA: Llama geometry under OLMo-style names, bidirectional, row i predicts token i."""

from __future__ import annotations

from dawn_models.config import ModelConfig
from dawn_models.families import rope
from dawn_models.families.family import LOGITS_AND_TEXT, MAX_LAYERS, Family, Release, head_dim_of
from dawn_models.families.ids import eos_token_ids, mask_token_id, pad_token_id
from dawn_models.families.namesakes import is_llada
from dawn_models.families.table import FieldTable
from dawn_models.fields import Fields, describe

_LAYER = "model.transformer.blocks.{i}."

_REQUIRED: dict[str, tuple[object, ...]] = {
    "activation_type": ("silu",),
    "hidden_act": ("silu", None),
    "attention_bias": (False, None),
    "block_type": ("llama",),
    "block_group_size": (1, None),
    "layer_norm_type": ("rms",),
    "layer_norm_with_affine": (True,),
    "alibi": (False, None),
    "rope": (True,),
    "attention_layer_norm": (False, None),
    "input_emb_norm": (False, None),
    "include_bias": (False, None),
    "include_qkv_bias": (False, None),
    "bias_for_layer_norm": (False, None),
    "scale_logits": (False, None),
    "clip_qkv": (None,),
}
"""Switches of the OLMo code base that LLaDA leaves at these values."""

_TABLE = FieldTable(
    read=frozenset(
        (
            *("d_model", "n_heads", "n_kv_heads", "multi_query_attention", "n_layers"),
            *("mlp_hidden_size", "mlp_ratio", "vocab_size", "embedding_size"),
            *("max_sequence_length", "rms_norm_eps", "weight_tying", *rope.FIELDS),
            *("mask_token_id", "eos_token_id", "pad_token_id"),
        )
    ),
    required=_REQUIRED,
    harmless=frozenset(
        (
            *("alibi_bias_max", "attention_layer_norm_with_affine", "flash_attention"),
            *("init_device", "init_fn", "init_std", "init_cutoff_factor", "precision"),
            *("attention_dropout", "residual_dropout", "embedding_dropout"),
            # We rotate in float32 whatever it says, which is the exact one of the two.
            *("rope_full_precision", "train_max_sequence_length"),
        )
    ),
    aliases={
        "hidden_size": "hidden_size",
        "intermediate_size": "intermediate_size",
        "num_hidden_layers": "num_layers",
        "num_attention_heads": "num_heads",
        "num_key_value_heads": "num_kv_heads",
        "head_dim": "head_dim",
        "rotary_dim": "head_dim",
        "layer_norm_eps": "norm_eps",
        "max_position_embeddings": "max_length",
        "tie_word_embeddings": "tied_head",
    },
    unused=frozenset(("max_position_embeddings", "tie_word_embeddings")),
)


def _parse(config: Fields, generation: Fields) -> ModelConfig:
    hidden_size = config.integer("d_model", minimum=1)
    heads = config.integer("n_heads", minimum=1)
    return ModelConfig(
        family="llada",
        vocab_size=config.integer(
            "embedding_size", minimum=1, default=config.integer("vocab_size", minimum=1)
        ),
        hidden_size=hidden_size,
        intermediate_size=_mlp_width(config, hidden_size),
        num_layers=config.integer("n_layers", minimum=1, maximum=MAX_LAYERS),
        num_heads=heads,
        num_kv_heads=_kv_heads(config, heads),
        head_dim=head_dim_of(config, "d_model", hidden_size, "n_heads", heads),
        max_length=config.integer("max_sequence_length", minimum=1),
        rope_theta=rope.rope_theta(config, default=10000.0),
        norm_eps=config.positive("rms_norm_eps", default=1e-5),
        qkv_bias=False,
        qk_norm=False,
        tied_head=config.boolean("weight_tying", default=True),
        shift=0,
        mask_token_id=mask_token_id(config, generation),
        eos_token_ids=eos_token_ids(config, generation),
        pad_token_id=pad_token_id(config, generation),
    )


def _mlp_width(config: Fields, hidden_size: int) -> int:
    """``mlp_hidden_size`` is the width of each of gate and up; without it, a ratio gives it."""
    ratio = config.integer("mlp_ratio", minimum=1, default=4)
    return config.integer("mlp_hidden_size", minimum=1, default=ratio * hidden_size)


def _kv_heads(config: Fields, heads: int) -> int:
    """``multi_query_attention`` is an older way to say one key head, or as many as query heads."""
    single = config.values.get("multi_query_attention")
    if single is None:
        return config.integer("n_kv_heads", minimum=1, default=heads)
    # Without the number, false says nothing; with it, the two must agree.
    said = 1 if config.boolean("multi_query_attention") else heads
    found = config.integer("n_kv_heads", minimum=1, default=said)
    if found != said:
        raise config.error(
            "n_kv_heads", found, f"{said} beside multi_query_attention = {describe(single)}"
        )
    return said


LLADA = Family(
    name="llada",
    model_type="llada",
    classes=("LLaDAModelLM",),
    fits=is_llada,
    parse=_parse,
    table=_TABLE,
    weight_names={
        "embedding.weight": "model.transformer.wte.weight",
        "norm.weight": "model.transformer.ln_f.weight",
        "head.weight": "model.transformer.ff_out.weight",
        "attention_norm.weight": _LAYER + "attn_norm.weight",
        "q_proj.weight": _LAYER + "q_proj.weight",
        "k_proj.weight": _LAYER + "k_proj.weight",
        "v_proj.weight": _LAYER + "v_proj.weight",
        "o_proj.weight": _LAYER + "attn_out.weight",
        "mlp_norm.weight": _LAYER + "ff_norm.weight",
        "gate_proj.weight": _LAYER + "ff_proj.weight",
        "up_proj.weight": _LAYER + "up_proj.weight",
        "down_proj.weight": _LAYER + "ff_out.weight",
    },
    end_tokens=("<|eot_id|>", "<|endoftext|>"),
    dawn_options={
        "tau_sink": 0.01,
        "tau_edge": 0.07,
        "tau_induce": 0.70,
        # Varies by task; this is the one used for most of them.
        "tau_low": 0.75,
        "tau_high": 0.90,
    },
    golden=LOGITS_AND_TEXT,
    releases=(
        Release("llada", "GSAI-ML/LLaDA-8B-Instruct", "MIT", "8B"),
        Release("llada-base", "GSAI-ML/LLaDA-8B-Base", size="8B"),
        Release("llada-1.5", "GSAI-ML/LLaDA-1.5", "MIT", "8B"),
        Release("d3llm-llada", "d3LLM/d3LLM_LLaDA", size="8B"),
        Release("dparallel-llada", "Zigeng/dParallel-LLaDA-8B-instruct", "MIT", "8B"),
    ),
)
