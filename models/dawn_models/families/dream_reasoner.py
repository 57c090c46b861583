"""DreamReasoner: Qwen3 geometry, denoised in blocks; another model that calls itself ``Dream``.

Dream-v0 has biases, no norms of queries and keys, and predicts the next token; here row i predicts
token i.
"""

from __future__ import annotations

from dawn_models.config import BLOCK_CAUSAL, ModelConfig
from dawn_models.families import qwen
from dawn_models.families.family import Decoding, Family, Release
from dawn_models.families.namesakes import is_dream_reasoner
from dawn_models.families.table import FieldTable
from dawn_models.fields import Fields

_BLOCK_FIELD = "block_size"


def _parse(config: Fields, generation: Fields) -> ModelConfig:
    return qwen.block_config(config, generation, family="dream-reasoner", field=_BLOCK_FIELD)


DREAM_REASONER = Family(
    name="dream-reasoner",
    model_type="Dream",
    classes=("DreamForCausalLM",),
    fits=is_dream_reasoner,
    parse=_parse,
    settle=qwen.settled,
    table=FieldTable(
        read=qwen.FIELDS | {"head_dim", _BLOCK_FIELD},
        required={"hidden_act": ("silu",), "attention_bias": (False, None)},
        harmless=frozenset(),
    ),
    weight_names=qwen.WEIGHT_NAMES,
    end_tokens=qwen.END_TOKENS,
    block_field=_BLOCK_FIELD,
    mask_names=(qwen.MASK_TOKEN,),
    ignored=qwen.IGNORED,
    attention=BLOCK_CAUSAL,
    decoding=Decoding("sdar", {"threshold": 0.9}),
    releases=(
        Release("dream-reasoner", "Dream-org/DreamReasoner-8B", size="8B", usual_block=32),
        Release(
            "dream-reasoner-base", "Dream-org/DreamReasoner-8B-Base", size="8B", usual_block=32
        ),
    ),
)
