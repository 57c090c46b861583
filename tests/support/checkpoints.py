"""Small random checkpoints for the tests, and ways to spoil them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from dawn_models import ConfigError, Told, family_named, parameter_shapes, read_config
from dawn_models.families.told import NOTHING

DREAM_CONFIG: dict[str, Any] = {
    "model_type": "Dream",
    "hidden_act": "silu",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "vocab_size": 40,
    "mask_token_id": 39,
    "eos_token_id": 38,
    "pad_token_id": 38,
}
LLADA_CONFIG: dict[str, Any] = {
    "model_type": "llada",
    "activation_type": "silu",
    "block_type": "llama",
    "layer_norm_type": "rms",
    "layer_norm_with_affine": True,
    "rope": True,
    "d_model": 16,
    "mlp_hidden_size": 24,
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 4,
    "max_sequence_length": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "weight_tying": False,
    "vocab_size": 40,
    "embedding_size": 40,
    "mask_token_id": 39,
    "eos_token_id": 38,
    "pad_token_id": 38,
}
_QWEN2 = {name: value for name, value in DREAM_CONFIG.items() if name != "model_type"}
_QWEN3 = _QWEN2 | {"head_dim": 6, "attention_bias": False}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e6,
    "factor": 16.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "original_max_position_embeddings": 48,
    "llama_4_scaling_beta": 0.1,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "dream": DREAM_CONFIG,
    "llada": LLADA_CONFIG,
    "illada": _QWEN2 | {"model_type": "illada", "tie_word_embeddings": True},
    "a2d-mdlm": _QWEN3 | {"model_type": "a2d-qwen3"},
    "a2d-bd3lm": _QWEN2 | {"model_type": "a2d-qwen2"},
    "open-dcoder": _QWEN2 | {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]},
    "coda": _QWEN3 | {"model_type": "CoDA"},
    "sdar": _QWEN3 | {"model_type": "sdar", "block_size": 4},
    "dream-reasoner": _QWEN3 | {"model_type": "Dream", "block_size": 32},
    "fast-dllm-v2": _QWEN2 | {"model_type": "Fast_dLLM_Qwen", "bd_size": 32},
    "wedlm": _QWEN3 | {"model_type": "wedlm", "qk_norm": True},
    "nemotron": _QWEN3
    | {"model_type": "nemotron_labs_diffusion", "block_size": 32}
    | {"rope_theta": None, "rope_parameters": _YARN},
}
"""Family -> a small config.json of it."""

UNTOLD = ("a2d-mdlm", "a2d-bd3lm", "open-dcoder")
"""Families that no file names."""


def told_of(family: str, **words: Any) -> Told:
    """What has to be said of a checkpoint of a family, and what is said beside it."""
    return Told(**({"family": family} if family in UNTOLD else {}) | words)


def write_config(folder: Path, family: str, **changes: Any) -> None:
    """Write config.json; a change to `...` removes the field."""
    values = {k: v for k, v in (CONFIGS[family] | changes).items() if v is not ...}
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")


def random_tensors(folder: Path, told: Told = NOTHING) -> dict[str, torch.Tensor]:
    """Random tensors, under their checkpoint names, that fit the config.json of `folder`."""
    _, config = read_config(folder, told=told)
    generator = torch.Generator().manual_seed(0)
    shapes = parameter_shapes(config)
    names = family_named(config.family).tensor_names(config)
    return {
        name: torch.randn(shapes[parameter], generator=generator).to(torch.bfloat16)
        for parameter, name in names.items()
    }


def write_checkpoint(
    folder: Path,
    family: str,
    spoil: Callable[[dict[str, torch.Tensor]], object] = lambda tensors: None,
    **changes: Any,
) -> Path:
    """Write a single-file checkpoint, its tensors changed by `spoil` first."""
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder, family, **changes)
    tensors = random_tensors(folder, told_of(family))
    spoil(tensors)
    save_file(tensors, folder / "model.safetensors")
    return folder


ADAPTER: dict[str, Any] = {
    "alpha_pattern": {},
    "auto_mapping": {"base_model_class": "NemotronLabsDiffusionModel", "parent_library": "x"},
    "base_model_name_or_path": "nvidia/Nemotron-Labs-Diffusion-3B",
    "bias": "none",
    "corda_config": None,
    "exclude_modules": None,
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "layer_replication": None,
    "layers_to_transform": None,
    "loftq_config": {},
    "lora_alpha": 20,
    "lora_bias": False,
    "lora_dropout": 0.05,
    "megatron_core": "megatron.core",
    "modules_to_save": None,
    "peft_type": "LORA",
    "qalora_group_size": 16,
    "r": 5,
    "rank_pattern": {},
    "target_modules": ["o_proj"],
    "task_type": "CAUSAL_LM",
    "use_dora": False,
    "use_rslora": False,
}
"""adapter_config.json as peft writes it, of rank 5 and scale 4."""


def write_adapter(
    folder: Path,
    spoil: Callable[[dict[str, torch.Tensor]], object] = lambda tensors: None,
    rank: int = ADAPTER["r"],
    **changes: Any,
) -> Path:
    """Write a random adapter for drafts into a checkpoint of Nemotron, and return its folder.

    Its tensors are of a rank, and changed by `spoil` first; a change to `...` removes a field.
    """
    _, config = read_config(folder)
    generator = torch.Generator().manual_seed(1)
    shapes = {"A": (rank, config.query_size), "B": (config.hidden_size, rank)}
    tensors = {
        f"base_model.model.encoder.layers.{i}.self_attn.o_proj.lora_{name}.weight": torch.randn(
            shape, generator=generator
        )
        for i in range(config.num_layers)
        for name, shape in shapes.items()
    }
    spoil(tensors)
    place = folder / "linear_spec_lora"
    place.mkdir(exist_ok=True)
    values = {k: v for k, v in (ADAPTER | changes).items() if v is not ...}
    (place / "adapter_config.json").write_text(json.dumps(values), encoding="utf-8")
    save_file(tensors, place / "adapter_model.safetensors")
    return place


def write_sharded(folder: Path, family: str = "dream") -> Path:
    """Write a checkpoint in two shards with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder, family)
    tensors = random_tensors(folder)
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        shard = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / shard)
        weight_map |= dict.fromkeys(part, shard)
    write_index(folder, weight_map)
    return folder


def write_index(folder: Path, weight_map: object) -> None:
    """Write ``model.safetensors.index.json``."""
    text = json.dumps({"metadata": {}, "weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def read_weight_map(folder: Path) -> dict[str, str]:
    """The index of a sharded checkpoint."""
    index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
    weight_map = index["weight_map"]
    if not isinstance(weight_map, dict):
        raise ConfigError(f"{folder}: not an index")
    return weight_map
