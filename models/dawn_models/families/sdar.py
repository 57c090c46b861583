"""SDAR and TraDo: Qwen3 geometry, denoised in blocks that see what is before them.

Blocks are counted from position 0, so that the first one may hold the end of the prompt. Published
lengths are 4, 8, 16, 32 and 64.
"""

from __future__ import annotations

from dawn_models.config import BLOCK_CAUSAL, ModelConfig
from dawn_models.families import qwen
from dawn_models.families.family import LOGITS_AND_TEXT, Decoding, Family, Release
from dawn_models.families.namesakes import is_sdar
from dawn_models.families.table import FieldTable
from dawn_models.fields import Fields

_BLOCK_FIELD = "block_size"


def _parse(config: Fields, generation: Fields) -> ModelConfig:
    return qwen.block_config(config, generation, family="sdar", field=_BLOCK_FIELD)


SDAR = Family(
    name="sdar",
    model_type="sdar",
    classes=("SDARForCausalLM",),
    fits=is_sdar,
    parse=_parse,
    settle=qwen.settled,
    table=FieldTable(
        read=qwen.FIELDS | {"head_dim", _BLOCK_FIELD},
        required={"hidden_act": ("silu",), "attention_bias": (False, None)},
        # All of it is about training.
        harmless=frozenset(
            (
                *("fuse_cross_entropy", "use_deepep", "ep_size", "micro_forward"),
                *("skip_checkpoint", "debug", "noise"),
            )
        ),
    ),
    weight_names=qwen.WEIGHT_NAMES,
    end_tokens=qwen.END_TOKENS,
    block_field=_BLOCK_FIELD,
    mask_names=("<MASK>", "<|MASK|>"),
    ignored=qwen.IGNORED,
    attention=BLOCK_CAUSAL,
    decoding=Decoding("sdar", {"threshold": 0.9}),
    golden=LOGITS_AND_TEXT,
    releases=(
        Release("sdar-1.7b", "JetLM/SDAR-1.7B-Chat", "Apache-2.0", "1.7B", usual_block=4),
        Release("sdar-4b", "JetLM/SDAR-4B-Chat", "Apache-2.0", "4B", usual_block=4),
        Release("sdar-8b", "JetLM/SDAR-8B-Chat", "Apache-2.0", "8B", usual_block=4),
        Release("trado-4b", "Gen-Verse/TraDo-4B-Instruct", "MIT", "4B", usual_block=4),
        Release("trado-8b", "Gen-Verse/TraDo-8B-Instruct", "MIT", "8B", usual_block=4),
    ),
)
