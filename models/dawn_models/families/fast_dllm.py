"""Fast-dLLM v2: Qwen2.5 geometry, denoised in blocks, row i - 1 predicts token i.

Blocks are counted from position 0. Row 0 of a block has nothing before it to be predicted by: the
first token of a block comes from the pass that finishes the block before.
"""

from __future__ import annotations

from dawn_models.config import BLOCK_CAUSAL, Attention, ModelConfig
from dawn_models.families import qwen
from dawn_models.families.family import LOGITS_AND_TEXT, Decoding, Family, Release, block_length_of
from dawn_models.families.table import FieldTable
from dawn_models.fields import Fields

_BLOCK_FIELD = "bd_size"


def _parse(config: Fields, generation: Fields) -> ModelConfig:
    attention = Attention(BLOCK_CAUSAL, block_length_of(config, _BLOCK_FIELD), carry=True)
    return qwen.qwen_config(
        config, generation, family="fast-dllm-v2", shift=1, qkv_bias=True, attention=attention
    )


FAST_DLLM_V2 = Family(
    name="fast-dllm-v2",
    model_type="Fast_dLLM_Qwen",
    classes=("Fast_dLLM_QwenForCausalLM",),
    parse=_parse,
    settle=qwen.settled,
    table=FieldTable(
        read=qwen.FIELDS | {"head_dim", _BLOCK_FIELD},
        required={"hidden_act": ("silu",)},
        harmless=frozenset(("conplemenrary_mask",)),  # as they spell it; about training
    ),
    weight_names=qwen.WEIGHT_NAMES,
    # Its code stops at this one alone.
    end_tokens=("<|im_end|>",),
    block_field=_BLOCK_FIELD,
    mask_names=("|<MASK>|",),
    ignored=qwen.IGNORED,
    attention=BLOCK_CAUSAL,
    decoding=Decoding("sdar", {"threshold": 0.9}, block_length=8),
    golden=LOGITS_AND_TEXT,
    releases=(
        Release(
            "fast-dllm-v2-1.5b", "Efficient-Large-Model/Fast_dLLM_v2_1.5B", "Apache-2.0", "1.5B"
        ),
        Release("fast-dllm-v2-7b", "Efficient-Large-Model/Fast_dLLM_v2_7B", "Apache-2.0", "7B"),
    ),
)
