"""config.json of the small models, with the fields of published checkpoints of their families."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

HIDDEN, LAYERS, HEADS, MLP, MAX_LENGTH = 192, 6, 6, 512, 512

BLOCK: Final = 8
"""Tokens of a block of tiny-block; the published models have 32, longer than most answers here."""

DRAFT: Final = 32
"""Tokens of a block of tiny-nemotron, as in the published models."""


def dream(vocab_size: int, ids: Mapping[str, int]) -> dict[str, Any]:
    """Dream."""
    return _qwen2(vocab_size, ids) | {
        "architectures": ["DreamModel"],
        "model_type": "Dream",
        "mask_token_id": ids["<|mask|>"],
    }


def wedlm(vocab_size: int, ids: Mapping[str, int]) -> dict[str, Any]:
    """WeDLM on Qwen2.5."""
    return _qwen2(vocab_size, ids) | {
        "architectures": ["WeDLMForCausalLM"],
        "model_type": "wedlm",
        "attention_bias": True,
        "mask_token_id": ids["<|mask|>"],
        "qk_norm": False,
    }


def fast_dllm(vocab_size: int, ids: Mapping[str, int]) -> dict[str, Any]:
    """Fast-dLLM v2; its mask is named by its tokenizer alone."""
    return _qwen2(vocab_size, ids) | {
        "architectures": ["Fast_dLLM_QwenForCausalLM"],
        "model_type": "Fast_dLLM_Qwen",
        "bd_size": BLOCK,
        "conplemenrary_mask": True,  # as they spell it
        "layer_types": ["full_attention"] * LAYERS,
    }


def a2d(vocab_size: int, ids: Mapping[str, int]) -> dict[str, Any]:
    """A2D on Qwen2, trained block by block (bd3lm)."""
    return _qwen2(vocab_size, ids) | {
        "architectures": ["A2DQwen2LMHeadModel"],
        "model_type": "a2d-qwen2",
        "block_size": BLOCK,
        "layer_types": ["full_attention"] * LAYERS,
        "mask_token_id": ids["<|mask|>"],
    }


def _qwen2(vocab_size: int, ids: Mapping[str, int]) -> dict[str, Any]:
    """What configurations of Qwen2's geometry share."""
    return {
        "attention_dropout": 0.0,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|endoftext|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": MLP,
        "max_position_embeddings": MAX_LENGTH,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": HEADS // 3,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": False,
        "use_sliding_window": False,
        "vocab_size": vocab_size,
    }


def llada(vocab_size: int, ids: Mapping[str, int]) -> dict[str, Any]:
    """LLaDA."""
    return {
        "architectures": ["LLaDAModelLM"],
        "model_type": "llada",
        "activation_type": "silu",
        "alibi": False,
        "attention_dropout": 0.0,
        "attention_layer_norm": False,
        "bias_for_layer_norm": False,
        "block_group_size": 1,
        "block_type": "llama",
        "d_model": HIDDEN,
        "embedding_size": vocab_size,
        "eos_token_id": ids["<|endoftext|>"],
        "include_bias": False,
        "include_qkv_bias": False,
        "input_emb_norm": False,
        "layer_norm_type": "rms",
        "layer_norm_with_affine": True,
        "mask_token_id": ids["<|mdm_mask|>"],
        "max_sequence_length": MAX_LENGTH,
        "mlp_hidden_size": MLP,
        "mlp_ratio": 4,
        "multi_query_attention": None,
        "n_heads": HEADS,
        "n_kv_heads": HEADS,
        "n_layers": LAYERS,
        "pad_token_id": ids["<|endoftext|>"],
        "rms_norm_eps": 1e-05,
        "rope": True,
        "rope_full_precision": True,
        "rope_theta": 10000.0,
        "scale_logits": False,
        "torch_dtype": "bfloat16",
        "vocab_size": vocab_size,
        "weight_tying": False,
    }


def nemotron(vocab_size: int, ids: Mapping[str, int]) -> dict[str, Any]:
    """Nemotron-Labs-Diffusion; YaRN is written out and, at a factor of 1, changes nothing."""
    return {
        "architectures": ["NemotronLabsDiffusionModel"],
        "model_type": "nemotron_labs_diffusion",
        "ar_loss_weight": 1.0,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attn_implementation": "sdpa",
        "block_size": DRAFT,
        "bos_token_id": ids["<|startoftext|>"],
        "dlm_loss_weight": 1.0,
        "dlm_paradigm": "bidirectional",
        "eos_token_id": ids["<|eot_id|>"],
        "head_dim": HIDDEN // HEADS,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": MLP,
        "mask_token_id": ids["<|mdm_mask|>"],
        "max_position_embeddings": MAX_LENGTH,
        "mlp_bias": False,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": HEADS,
        "pad_token_id": ids["<|endoftext|>"],
        "rms_norm_eps": 1e-05,
        "rope_parameters": {
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "factor": 1.0,
            "llama_4_scaling_beta": 0.1,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "original_max_position_embeddings": MAX_LENGTH,
            "rope_theta": 10000.0,
            "rope_type": "yarn",
        },
        "sliding_window": None,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": False,
        "vocab_size": vocab_size,
    }
