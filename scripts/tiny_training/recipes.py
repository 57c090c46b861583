"""The two small models: geometry, special tokens, chat template, Hugging Face files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

HIDDEN, LAYERS, HEADS, MLP, MAX_LENGTH = 192, 6, 6, 512, 512

_DREAM_CHAT = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_LLADA_CHAT = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"
    "{{ message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
    "{% endif %}"
)


@dataclass(frozen=True)
class Recipe:
    """What is peculiar to one small model.

    Attributes:
        name: folder under models/.
        special_tokens: in vocabulary order, after the byte-pair tokens.
        mask, pad, turn_end: which of them stand for a mask, for padding, for the end of a turn.
        bos: the token that opens a text, or None.
        chat_template: Jinja source, as in Hugging Face repositories.
        config: vocabulary size and token ids -> the contents of config.json.
    """

    name: str
    special_tokens: tuple[str, ...]
    mask: str
    pad: str
    turn_end: str
    bos: str | None
    chat_template: str
    config: Callable[[int, dict[str, int]], dict[str, Any]]


def _dream_config(vocab_size: int, ids: dict[str, int]) -> dict[str, Any]:
    return {
        "architectures": ["DreamModel"],
        "model_type": "Dream",
        "attention_dropout": 0.0,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|endoftext|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "mask_token_id": ids["<|mask|>"],
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


def _llada_config(vocab_size: int, ids: dict[str, int]) -> dict[str, Any]:
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


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="tiny-dream",
            special_tokens=("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|mask|>"),
            mask="<|mask|>",
            pad="<|endoftext|>",
            turn_end="<|im_end|>",
            bos=None,
            chat_template=_DREAM_CHAT,
            config=_dream_config,
        ),
        Recipe(
            name="tiny-llada",
            special_tokens=(
                "<|startoftext|>",
                "<|endoftext|>",
                "<|start_header_id|>",
                "<|end_header_id|>",
                "<|eot_id|>",
                "<|mdm_mask|>",
            ),
            mask="<|mdm_mask|>",
            pad="<|endoftext|>",
            turn_end="<|eot_id|>",
            bos="<|startoftext|>",
            chat_template=_LLADA_CHAT,
            config=_llada_config,
        ),
    )
}
