"""Print the table of docs/jetson.md: what a model takes of a board's memory, and what a step costs.

    python scripts/device_memory.py --length 1024 --batch 1

Formulas, for B rows of L tokens and 16-bit keys, values and activations:

    weights   parameters * bytes; in int8 and int4 the matrices of the layers shrink, embedding,
              head, norms and biases stay 16-bit; int4 has a 16-bit scale for each 128 weights
    cache     2 * 2 * layers * kv_heads * head_dim * B * L * 2    the kept keys and values, and what
              a step returns of them; half as much again where B > 1; with --kv int8 rows of
              `dawn_runtime.contract.kv_width` bytes in place of head_dim * 2
    work      B * L * (4 * hidden + 3 * mlp) * 2                  residual stream, q/k/v; gate, up
              + 2 * B * heads * L * 2L * 2                        scores and softmax where not fused
              + B * L * vocabulary * 6                            head on every row, 16 and 32 bits
    base      1 GB for Python, CUDA and TensorRT
    build     the sum, and the weights twice more: as the parser reads them, and in the plan
    step      bytes that one step reads, all weights but the embedding, over the bandwidth: no step
              is faster, whatever computes it
"""

from __future__ import annotations

import argparse
import json
import sys
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

from dawn_models import ModelConfig, Told, parameter_shapes, read_config
from dawn_runtime.contract import KV_KINDS, kv_dtype, kv_width
from dawn_runtime.machine.memory import gpu_copies
from make_random_checkpoint import GEOMETRIES, TOLD

BYTES = {"fp16": 2.0, "int8": 1.0, "int4": 0.5 + 2 / 128}
"""Precision -> bytes of one weight in a matrix of a layer."""

BANDWIDTH = {"Orin Nano": 102e9, "AGX Orin": 204.8e9, "Thor": 273e9}
"""Board -> bytes it reads from memory in a second, by NVIDIA's data sheets."""

BASE = 1e9


def weight_bytes(config: ModelConfig, precision: str) -> tuple[float, float]:
    """Returns the bytes of all weights, and of those that every step reads."""
    total, unread = 0.0, 0.0
    for name, shape in parameter_shapes(config).items():
        shrinks = name.startswith("layers.") and len(shape) == 2
        size = prod(shape) * (BYTES[precision] if shrinks else 2.0)
        total += size
        unread += size if name == "embedding.weight" and not config.tied_head else 0.0
    return total, total - unread


def cache_bytes(config: ModelConfig, length: int, batch: int, kv: str) -> float:
    """Returns the bytes of keys and values, kept as one of `KV_KINDS`."""
    row = kv_width(config.head_dim, kv_dtype("fp16", kv)) * (2 if kv == "float" else 1)
    per_token = 2 * config.num_layers * config.num_kv_heads * row
    return float(gpu_copies(batch) * batch * length * per_token)


def work_bytes(config: ModelConfig, length: int, batch: int) -> float:
    """Returns the bytes that a pass works on."""
    stream = length * (4 * config.hidden_size + 3 * config.intermediate_size) * 2
    scores = 2 * config.num_heads * length * 2 * length * 2
    return float(batch * (stream + scores + length * config.vocab_size * 6))


def table(length: int, batch: int, kv: str) -> list[str]:
    """Returns the lines of the table."""
    boards = [f"step on {name}" for name in BANDWIDTH]
    head = ["model", "precision", "weights", "cache", "work", "to run", "to build", *boards]
    lines = [_line(head), _line(["---"] * len(head))]
    for name in GEOMETRIES:
        config = _config(name)
        cache = cache_bytes(config, length, batch, kv)
        rest = cache + work_bytes(config, length, batch) + BASE
        for precision in BYTES:
            total, read = weight_bytes(config, precision)
            parts = (total, cache, work_bytes(config, length, batch))
            sums = (total + rest, 3 * total + rest)
            sizes = [f"{size / 1e9:.1f}" for size in (*parts, *sums)]
            steps = [f"{1e3 * read / speed:.0f} ms" for speed in BANDWIDTH.values()]
            lines.append(_line([name, precision, *sizes, *steps]))
    return lines


def _config(name: str) -> ModelConfig:
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(GEOMETRIES[name]))
        return read_config(Path(folder), told=TOLD.get(name, Told()))[1]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--length", type=int, default=1024, help="tokens; default: %(default)s")
    parser.add_argument("--batch", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--kv", choices=KV_KINDS, default="float", help="default: %(default)s")
    args = parser.parse_args()
    print("\n".join(table(args.length, args.batch, args.kv)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
