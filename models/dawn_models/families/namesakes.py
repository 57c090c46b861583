"""What tells apart models that write the same ``model_type`` into config.json.

``llada`` is LLaDA and LLaDA-MoE, ``Dream`` is Dream and DreamReasoner, ``sdar`` is SDAR and others.
Each function takes the fields of config.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_llada_moe(values: Mapping[str, Any]) -> bool:
    """Whether a configuration of type ``llada`` is LLaDA-MoE's."""
    return bool(values.get("num_experts")) or "MoE" in str(values.get("architectures"))


def is_llada(values: Mapping[str, Any]) -> bool:
    """Whether a configuration of type ``llada`` is LLaDA's."""
    return not is_llada_moe(values)


def is_dream_reasoner(values: Mapping[str, Any]) -> bool:
    """Whether a configuration of type ``Dream`` is DreamReasoner's."""
    blocks = values.get("block_size") is not None  # 0 is one, and wrong
    return blocks or "DreamForCausalLM" in str(values.get("architectures"))


def is_dream(values: Mapping[str, Any]) -> bool:
    """Whether a configuration of type ``Dream`` is Dream's."""
    return not is_dream_reasoner(values)


def is_sdar(values: Mapping[str, Any]) -> bool:
    """Whether a configuration of type ``sdar`` is SDAR's."""
    architectures = values.get("architectures")
    return architectures is None or "SDARForCausalLM" in str(architectures)
