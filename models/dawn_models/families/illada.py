"""iLLaDA: LLaDA's successor, Llama geometry with grouped heads and a head that is the embedding.

Its mask is token 5, which only its tokenizer says.
"""

from __future__ import annotations

from dawn_models.config import ModelConfig
from dawn_models.families import qwen
from dawn_models.families.family import Family, Release
from dawn_models.families.table import FieldTable
from dawn_models.fields import Fields


def _parse(config: Fields, generation: Fields) -> ModelConfig:
    return qwen.qwen_config(config, generation, family="illada", shift=0)


ILLADA = Family(
    name="illada",
    model_type="illada",
    classes=("LLaDAModelLM",),
    parse=_parse,
    settle=qwen.settled,
    table=FieldTable(
        read=qwen.FIELDS | {"head_dim"},
        required={
            "hidden_act": ("silu",),
            "attention_bias": (False, None),
            "sliding_window": (None,),
        },
        harmless=frozenset(),
    ),
    weight_names=qwen.WEIGHT_NAMES,
    end_tokens=(),
    mask_names=("<[MASK]>",),
    ignored=qwen.IGNORED,
    releases=(
        Release("illada", "GSAI-ML/iLLaDA-8B-Instruct", "Apache-2.0", "8B"),
        Release("illada-base", "GSAI-ML/iLLaDA-8B-Base", "Apache-2.0", "8B"),
    ),
)
