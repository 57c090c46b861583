"""Models that are known and not supported: a refusal shall say what was given.

``model_type`` alone does not tell: LLaDA-MoE calls itself ``llada`` and DreamReasoner ``Dream``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dawn_models.families.namesakes import is_llada_moe, is_sdar

_CAUSAL = "a causal language model, which predicts from left to right and knows no mask"

_BY_TYPE: Mapping[str, str] = {
    "llada_moe": "LLaDA-MoE, a mixture of experts",
    "lladamoe": "LLaDA-MoE, a mixture of experts",
    "llada2_moe": "LLaDA 2, a mixture of experts",
    "llada2_moe_veomni": "LLaDA 2, a mixture of experts",
    "sdar_moe": "SDAR-MoE, a mixture of experts",
    "a2d-llama": "Tiny-A2D, with the geometry of Llama",
    "rnd1": "RND1, a mixture of experts",
    "mmada": "MMaDA, a model of text and images",
    "llava_llada": "LaViDa, a model of text and images",
    "llava_dream": "LaViDa, a model of text and images",
    "diffusion_gemma": "DiffusionGemma, which denoises without masks",
    "lfm2": "LFM2, which has convolutions",
}

_CAUSAL_TYPES = (
    *("qwen2", "qwen3", "qwen2_moe", "qwen3_moe", "llama", "mistral", "mixtral", "ministral"),
    *("gemma", "gemma2", "gemma3", "phi", "phi3", "gpt2", "gpt_neox", "gpt_oss", "falcon"),
    *("olmo", "olmo2", "olmoe", "granite", "deepseek_v2", "deepseek_v3", "smollm3", "opt"),
)

_FORMATS: Mapping[str, str] = {
    "awq": "AWQ",
    "gptq": "GPTQ",
    "bitsandbytes": "bitsandbytes",
    "fp8": "FP8",
    "compressed-tensors": "compressed-tensors",
}


def unsupported_model(values: Mapping[str, Any], supported: Collection[str]) -> str | None:
    """What a configuration describes, if that is a model we know and do not support.

    Args:
        values: the fields of config.json.
        supported: values of ``model_type`` that a family reads; the tables need not be told.
    """
    model_type = values.get("model_type")
    name = model_type.lower() if isinstance(model_type, str) else ""
    if name == "llada" and is_llada_moe(values):
        return _BY_TYPE["llada_moe"]
    if name == "sdar" and not is_sdar(values):
        moe = "moe" in str(values.get("architectures")).lower()
        return _BY_TYPE["sdar_moe"] if moe else "a model of another kind under SDAR's name"
    if model_type in supported:
        return None
    return _BY_TYPE.get(name) or (_CAUSAL if name in _CAUSAL_TYPES else None)


def quantized_format(value: object) -> str:
    """Names the format in which ``quantization_config`` says the weights are stored."""
    method = value.get("quant_method") if isinstance(value, dict) else None
    if not isinstance(method, str):
        return "a quantised format"
    return _FORMATS.get(method.lower(), f"{method!r:.40}")
