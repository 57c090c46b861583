"""Open-dCoder: Qwen2.5-Coder that denoises, bidirectional, row i - 1 predicts token i.

Its config.json is that of the causal model it was made of, to the last field.
"""

from __future__ import annotations

from dawn_models.config import ModelConfig
from dawn_models.families import qwen
from dawn_models.families.family import LOGITS_AND_TEXT, Decoding, Family, Release
from dawn_models.families.table import FieldTable
from dawn_models.fields import Fields


def _parse(config: Fields, generation: Fields) -> ModelConfig:
    return qwen.qwen_config(config, generation, family="open-dcoder", shift=1, qkv_bias=True)


OPEN_DCODER = Family(
    name="open-dcoder",
    model_type="qwen2",
    ambiguous="it may be a causal language model, which is not supported, or Open-dCoder",
    parse=_parse,
    settle=qwen.settled,
    table=FieldTable(
        read=qwen.FIELDS | {"head_dim"},
        required={"hidden_act": ("silu",)},
        harmless=frozenset(),
    ),
    weight_names=qwen.WEIGHT_NAMES,
    end_tokens=qwen.END_TOKENS,
    # What its scripts add where the tokenizer has no mask.
    mask_names=("[MASK]",),
    ignored=qwen.IGNORED,
    decoding=Decoding("dream", {"alg": "entropy", "steps": 512}, block_length=256),
    golden=LOGITS_AND_TEXT,
    releases=(Release("open-dcoder", "fredzzp/open-dcoder-0.5B", "Apache-2.0", "0.5B"),),
)
