"""WeDLM: Qwen2.5 or Qwen3 geometry under causal attention, row i predicts token i.

What a row sees follows from the order in which rows are fed, not from positions: known tokens are
fed before masks. Which of the two geometries it is, its engine takes from ``attention_bias`` and
its class for transformers from ``qk_norm``; here the files say it, and both fields have to agree.
"""

from __future__ import annotations

from collections.abc import Collection

from dawn_models.config import CAUSAL, Attention, ModelConfig
from dawn_models.families import qwen
from dawn_models.families.family import LOGITS_AND_TEXT, Decoding, Family, Release
from dawn_models.families.table import FieldTable
from dawn_models.fields import Fields


def _parse(config: Fields, generation: Fields) -> ModelConfig:
    bias = config.boolean("attention_bias", default=True)
    return qwen.qwen_config(
        config,
        generation,
        family="wedlm",
        shift=0,
        qkv_bias=bias,
        qk_norm=config.boolean("qk_norm", default=not bias),
        attention=Attention(CAUSAL),
    )


def _settle(config: ModelConfig, fields: Fields, tensors: Collection[str]) -> ModelConfig:
    _compare(fields, tensors, "qk_norm", ".q_norm.weight", said=config.qk_norm)
    _compare(fields, tensors, "attention_bias", ".q_proj.bias", said=config.qkv_bias)
    return qwen.settled(config, fields, tensors)


def _compare(
    fields: Fields, tensors: Collection[str], field: str, ending: str, *, said: bool
) -> None:
    """Refuses a switch that the tensors contradict."""
    held = sorted(name for name in tensors if name.endswith(ending))
    if said == bool(held):
        return
    why = f"the weights hold {held[0]!r:.80}" if held else f"no tensor ends in {ending!r}"
    raise fields.error(field, fields.values.get(field), f"{str(bool(held)).lower()}: {why}")


WEDLM = Family(
    name="wedlm",
    model_type="wedlm",
    classes=("WeDLMForCausalLM",),
    parse=_parse,
    settle=_settle,
    table=FieldTable(
        read=qwen.FIELDS | {"head_dim", "attention_bias", "qk_norm"},
        required={"hidden_act": ("silu",)},
        harmless=frozenset(),
    ),
    weight_names=qwen.WEIGHT_NAMES,
    end_tokens=qwen.END_TOKENS,
    mask_names=(qwen.MASK_TOKEN,),
    ignored=qwen.IGNORED,
    attention=CAUSAL,
    # In a window of 16 positions that moves.
    decoding=Decoding("wedlm", {"tau": 0.4, "penalty": 0.02}, block_length=16),
    golden=LOGITS_AND_TEXT,
    releases=(
        Release("wedlm-7b", "tencent/WeDLM-7B-Instruct", "Apache-2.0", "7B"),
        Release("wedlm-7b-base", "tencent/WeDLM-7B", "Apache-2.0", "7B"),
        Release("wedlm-8b", "tencent/WeDLM-8B-Instruct", "Apache-2.0", "8B"),
        Release("wedlm-8b-base", "tencent/WeDLM-8B", "Apache-2.0", "8B"),
    ),
)
