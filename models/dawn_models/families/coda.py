"""CoDA: Qwen3 geometry, bidirectional, row i - 1 predicts token i.

Its class says that the head is the embedding, its code never makes it so, and its config.json is
silent: the head is what the files hold.
"""

from __future__ import annotations

from dawn_models.config import ModelConfig
from dawn_models.families import qwen
from dawn_models.families.family import LOGITS_AND_TEXT, Decoding, Family, Release, stored_head
from dawn_models.families.table import FieldTable
from dawn_models.fields import Fields


def _parse(config: Fields, generation: Fields) -> ModelConfig:
    return qwen.qwen_config(config, generation, family="coda", shift=1, qk_norm=True)


CODA = Family(
    name="coda",
    model_type="CoDA",
    classes=("CoDALanguageModel",),
    parse=_parse,
    settle=stored_head(qwen.WEIGHT_NAMES["head.weight"], whatever_is_said=True),
    table=FieldTable(
        read=qwen.FIELDS | {"head_dim"},
        required={"hidden_act": ("silu",), "attention_bias": (False, None)},
        # All of it is about training.
        harmless=frozenset(
            (
                *("attention_kernel", "block_masking_probability", "mask_block_sizes"),
                *("prefix_probability", "truncate_probability", "sampling_eps"),
            )
        ),
    ),
    weight_names=qwen.WEIGHT_NAMES,
    end_tokens=qwen.END_TOKENS,
    mask_names=(qwen.MASK_TOKEN,),
    ignored=qwen.IGNORED,
    decoding=Decoding("dream", {"alg": "entropy", "steps": 128}, block_length=256),
    golden=LOGITS_AND_TEXT,
    releases=(
        Release("coda", "Salesforce/CoDA-v0-Instruct", "CC-BY-NC-4.0", "1.7B"),
        Release("coda-base", "Salesforce/CoDA-v0-Base", "CC-BY-NC-4.0", "1.7B"),
    ),
)
