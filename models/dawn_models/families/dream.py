"""Dream: Qwen2.5 geometry, bidirectional, row i - 1 predicts token i."""

from __future__ import annotations

from dataclasses import replace

from dawn_models.config import ModelConfig
from dawn_models.families import qwen
from dawn_models.families.family import LOGITS_AND_TEXT, Family, Release, head_dim_of
from dawn_models.families.namesakes import is_dream
from dawn_models.families.table import FieldTable
from dawn_models.fields import Fields

_TABLE = FieldTable(
    read=qwen.FIELDS,
    required={"hidden_act": ("silu",)},
    harmless=frozenset(),
    aliases={"head_dim": "head_dim", "rotary_dim": "head_dim", "layer_norm_eps": "norm_eps"},
)


def _parse(config: Fields, generation: Fields) -> ModelConfig:
    width = config.integer("hidden_size", minimum=1)
    heads = config.integer("num_attention_heads", minimum=1)
    head_dim = head_dim_of(config, "hidden_size", width, "num_attention_heads", heads)
    read = qwen.qwen_config(
        config, generation, family="dream", head_dim=head_dim, shift=1, qkv_bias=True
    )
    return replace(read, forbidden_token_ids=_growing(config, generation))


def _growing(config: Fields, generation: Fields) -> tuple[int, ...]:
    """The token with which DreamOn asks for room: here an answer is as long as it is."""
    found = (fields.optional_integer("expand_token_id") for fields in (generation, config))
    return tuple(dict.fromkeys(number for number in found if number is not None))


DREAM = Family(
    name="dream",
    model_type="Dream",
    classes=("DreamModel",),
    fits=is_dream,
    parse=_parse,
    table=_TABLE,
    weight_names=qwen.WEIGHT_NAMES,
    end_tokens=("<|im_end|>", "<|endoftext|>"),
    ignored=qwen.IGNORED,
    dawn_options={
        "tau_sink": 0.03,
        "tau_edge": 0.10,
        "tau_induce": 0.75,
        # Varies by task; this is the one used for most of them.
        "tau_low": 0.80,
        "tau_high": 0.90,
    },
    tokenizer_classes=("DreamTokenizer",),
    golden=LOGITS_AND_TEXT,
    releases=(
        Release("dream", "Dream-org/Dream-v0-Instruct-7B", "Apache-2.0", "7B"),
        Release("dream-base", "Dream-org/Dream-v0-Base-7B", size="7B"),
        Release("dream-coder", "Dream-org/Dream-Coder-v0-Instruct-7B", size="7B"),
        Release("diffucoder", "apple/DiffuCoder-7B-cpGRPO", size="7B"),
        Release("diffucoder-instruct", "apple/DiffuCoder-7B-Instruct", "apple-amlr", "7B"),
        Release("dreamon", "Dream-org/DreamOn-v0-7B", "Apache-2.0", "7B"),
        Release("d3llm-dream", "d3LLM/d3LLM_Dream", size="7B"),
        Release("d3llm-dream-coder", "d3LLM/d3LLM_Dream_Coder", size="7B"),
        Release("dparallel-dream", "Zigeng/dParallel_Dream_7B_Instruct", size="7B"),
    ),
)
