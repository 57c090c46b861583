"""Write a sharded random checkpoint of real geometry, to measure size and speed without weights.

    python scripts/make_random_checkpoint.py --like 0.5b --output build/random-0.5b

One shard is in memory at a time (`--shard-bytes`). With `--tokenizer` it can be asked in words:
tokenizer, chat template and special tokens are then those of another checkpoint, whose vocabulary
may be smaller. The last line on standard output is JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from dawn_models import Told, family_named, parameter_shapes, read_config

_QWEN = {
    "model_type": "Dream",
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_scaling": None,
    "rope_theta": 1e6,
    "max_position_embeddings": 2048,
    "mask_token_id": 151666,
    "eos_token_id": 151645,
    "pad_token_id": 151643,
}
_QWEN3 = {name: value for name, value in _QWEN.items() if name != "model_type"} | {
    "attention_bias": False,
    "head_dim": 128,
    "mask_token_id": 151669,
    "num_key_value_heads": 8,
    "vocab_size": 151936,
}
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "generation_config.json",
)
"""What is taken of another checkpoint, where it is there."""

SPECIAL = ("mask_token_id", "eos_token_id", "pad_token_id")
"""Fields of config.json that go with a tokenizer."""

GEOMETRIES: dict[str, dict[str, Any]] = {
    "0.5b": _QWEN
    | {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        "vocab_size": 151936,
    },
    "0.5b-4-layers": _QWEN
    | {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 4,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        "max_position_embeddings": 4096,
        "vocab_size": 4096,
        "mask_token_id": 4095,
        "eos_token_id": 4094,
        "pad_token_id": 4094,
    },
    "dream-7b": _QWEN
    | {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "tie_word_embeddings": False,
        "vocab_size": 152064,
    },
    "llada-8b": {
        "model_type": "llada",
        "activation_type": "silu",
        "block_type": "llama",
        "layer_norm_type": "rms",
        "layer_norm_with_affine": True,
        "rope": True,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "d_model": 4096,
        "mlp_hidden_size": 12288,
        "n_layers": 32,
        "n_heads": 32,
        "n_kv_heads": 32,
        "weight_tying": False,
        "vocab_size": 126464,
        "embedding_size": 126464,
        "max_sequence_length": 4096,
        "mask_token_id": 126336,
        "eos_token_id": 126081,
        "pad_token_id": 126081,
    },
    "a2d-0.6b": _QWEN3
    | {
        "model_type": "a2d-qwen3",
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "tie_word_embeddings": True,
    },
    "sdar-4b": _QWEN3
    | {
        "model_type": "sdar",
        "block_size": 4,
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "tie_word_embeddings": False,
    },
    "wedlm-8b": _QWEN3
    | {
        "model_type": "wedlm",
        "qk_norm": True,
        "mask_token_id": 151665,
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "tie_word_embeddings": False,
    },
    "nemotron-3b": {
        "model_type": "nemotron_labs_diffusion",
        "hidden_act": "silu",
        "hidden_size": 3072,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "attention_bias": False,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 262144,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1e6,
            "factor": 16.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "original_max_position_embeddings": 16384,
            "llama_4_scaling_beta": 0.1,
        },
        "tie_word_embeddings": False,
        "vocab_size": 131072,
        "block_size": 32,
        "mask_token_id": 100,
        "eos_token_id": 11,
    },
}
"""The contents of config.json, by the name given to ``--like``."""

GEOMETRIES["0.5b-28-layers"] = GEOMETRIES["0.5b"] | {"num_hidden_layers": 28}  # DAWN's least

TOLD = {"a2d-0.6b": Told(family="a2d-mdlm")}
"""What has to be said of those that do not say it themselves; ``dawn-export --family`` says it."""


def main() -> int:
    """Write the checkpoint, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--like", choices=sorted(GEOMETRIES), required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder to write; must be new")
    parser.add_argument("--tokenizer", type=Path, metavar="DIR", help="checkpoint it is taken of")
    parser.add_argument("--shard-bytes", type=int, default=2**30, help="most bytes in one shard")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.output.exists():
        parser.error(f"{arguments.output} exists; name a new folder")
    source = arguments.tokenizer
    if source is not None and not (source / "tokenizer.json").is_file():
        parser.error(f"--tokenizer: {source} holds no tokenizer.json; name another checkpoint")
    written = write(
        arguments.like, arguments.output, arguments.shard_bytes, arguments.seed, tokenizer=source
    )
    print(json.dumps({"like": arguments.like, "output": str(arguments.output), "bytes": written}))
    return 0


def write(
    like: str, folder: Path, shard_bytes: int, seed: int, *, tokenizer: Path | None = None
) -> int:
    """Write config, shards and index, and a tokenizer if one is given.

    Returns the bytes of all tensors.
    """
    folder.mkdir(parents=True)
    said = GEOMETRIES[like] | ({} if tokenizer is None else _with_tokenizer(tokenizer, folder))
    (folder / "config.json").write_text(json.dumps(said, indent=2), encoding="utf-8")
    _, config = read_config(folder, told=TOLD.get(like, Told()))
    shapes = parameter_shapes(config)
    names = family_named(config.family).tensor_names(config)
    shards = list(_shards({names[p]: shape for p, shape in shapes.items()}, shard_bytes))
    generator = torch.Generator().manual_seed(seed)
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        tensors = {name: _random(shape, generator) for name, shape in shard.items()}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file)
    total = sum(2 * torch.Size(shape).numel() for shape in shapes.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return total


def _with_tokenizer(source: Path, folder: Path) -> dict[str, int]:
    """Copy the tokenizer of a checkpoint; returns the special tokens of its config.json."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    return {name: config[name] for name in SPECIAL}


def _shards(
    shapes: dict[str, tuple[int, ...]], shard_bytes: int
) -> Iterator[dict[str, tuple[int, ...]]]:
    """Group tensors, in order, into shards of at most `shard_bytes` (or one tensor)."""
    shard: dict[str, tuple[int, ...]] = {}
    size = 0
    for name, shape in shapes.items():
        tensor_bytes = 2 * torch.Size(shape).numel()
        if shard and size + tensor_bytes > shard_bytes:
            yield shard
            shard, size = {}, 0
        shard[name] = shape
        size += tensor_bytes
    yield shard


def _random(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Norm scales around one; everything else small, so that activations stay in range."""
    values = torch.empty(shape, dtype=torch.bfloat16).normal_(0.0, 0.02, generator=generator)
    return values + 1 if len(shape) == 1 else values


if __name__ == "__main__":
    sys.exit(main())
