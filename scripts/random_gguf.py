"""Write a random GGUF file of the geometry of a checkpoint, for llama.cpp's own tools.

    python scripts/random_gguf.py build/random-0.5b-28 --output build/random.gguf --type Q8_0

All matrices are of one type and norms are F32. Blocks are random numbers under a scale that is the
same for all: how long a step takes does not depend on them. A file that this command writes has the
tokenizer of the checkpoint and its way to decode, which `llama-diffusion-cli` needs. The last line
on standard output is JSON.
"""

from __future__ import annotations

import argparse
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from dawn_models import CheckpointError, ModelConfig, Told, read_config
from dawn_runtime.cli.common import Parser, print_json, run_command
from dawn_runtime.errors import OptionError
from gguf_tokenizer import Said, tokenizer_metadata

_ALIGNMENT: Final = 32
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9
DIFFUSION: Final = ("dream",)
"""Families that llama.cpp decodes as diffusion models, under their own name."""

_F32, _ROWS_AT_ONCE = 0, 4096


@dataclass(frozen=True)
class _Blocks:
    """A type of blocks of 32 numbers: a scale in FP16, then the numbers.

    Attributes:
        number: of the type in the file.
        nbytes: of a block.
        scale: under which random numbers have a deviation of about 0.02.
    """

    number: int
    nbytes: int
    scale: float


TYPES: Final = {"Q8_0": _Blocks(8, 34, 0.00027), "Q4_0": _Blocks(2, 18, 0.0043)}
_BLOCK = 32


def main() -> int:
    """Write the file, print one JSON line."""
    return run_command(_parser(), _work, errors=(CheckpointError,))


def _parser() -> Parser:
    parser = Parser("random_gguf", "Write a random GGUF file of the geometry of a checkpoint.")
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--output", type=Path, required=True, help="file to write; must be new")
    parser.add_argument("--type", choices=list(TYPES), default="Q8_0", help="default: %(default)s")
    return parser


def _work(arguments: argparse.Namespace) -> None:
    if arguments.output.exists():
        raise OptionError(f"--output: {arguments.output} exists; name a new file")
    _, config = read_config(arguments.checkpoint, told=Told())
    words = tokenizer_metadata(arguments.checkpoint, config.vocab_size)
    written = write_random(arguments.output, config, arguments.type, words)
    print_json({"output": str(arguments.output), "type": arguments.type, "bytes": written})


def write_random(path: Path, config: ModelConfig, kind: str, words: Said | None = None) -> int:
    """Writes the file and returns its bytes.

    Args:
        path: of the file.
        config: the geometry.
        kind: of `TYPES`.
        words: of `tokenizer_metadata`, for a model that decodes as its family does; None is one
            that computes as much, decodes from left to right and knows no words.

    Raises:
        OptionError: llama.cpp has no such architecture, or rows are no whole blocks.
    """
    shapes, said = tensors(config), metadata(config, words)
    for name, shape in shapes.items():
        if len(shape) == 2 and shape[1] % _BLOCK:
            raise OptionError(f"{name} has rows of {shape[1]}; {kind} takes multiples of {_BLOCK}")
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(said)))
        file.writelines(_entry(name, value) for name, value in said.items())
        offset = 0
        for name, shape in shapes.items():
            number = _F32 if len(shape) == 1 else TYPES[kind].number
            file.write(_text(name) + struct.pack("<I", len(shape)))
            file.write(struct.pack(f"<{len(shape)}Q", *reversed(shape)))
            file.write(struct.pack("<IQ", number, offset))
            offset += _aligned(_nbytes(shape, kind))
        _pad(file)
        random = np.random.default_rng(0)
        for name, shape in shapes.items():
            file.writelines(_data(name, shape, kind, random))
            _pad(file)
        return file.tell()


def architecture(config: ModelConfig) -> str:
    """The architecture of llama.cpp that computes as much.

    Raises:
        OptionError: There is none.
    """
    if config.layers or (config.qkv_bias and config.qk_norm):
        raise OptionError(f"{config.family}: llama.cpp has no such layers")
    return "qwen2" if config.qkv_bias else "qwen3" if config.qk_norm else "llama"


def diffusion_architecture(config: ModelConfig) -> str:
    """The architecture of llama.cpp that decodes as the family does.

    Raises:
        OptionError: There is none, or none of which a file was tried.
    """
    if config.family not in DIFFUSION:
        known = ", ".join(DIFFUSION)
        raise OptionError(f"{config.family}: no file for llama.cpp's diffusion; of {known} alone")
    return config.family


def metadata(config: ModelConfig, words: Said | None = None) -> dict[str, Any]:
    """What the file says of the model."""
    name = architecture(config) if words is None else diffusion_architecture(config)
    said = {
        "context_length": config.max_length,
        "embedding_length": config.hidden_size,
        "block_count": config.num_layers,
        "feed_forward_length": config.intermediate_size,
        "vocab_size": config.vocab_size,
        "rope.dimension_count": config.head_dim,
        "rope.freq_base": config.rope_theta,
        "attention.head_count": config.num_heads,
        "attention.head_count_kv": config.num_kv_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": config.norm_eps,
    }
    known: Said = {"tokenizer.ggml.model": "no_vocab"} if words is None else words
    first: dict[str, Any] = {"general.architecture": name, **known}
    return first | {f"{name}.{key}": value for key, value in said.items()}


def tensors(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Names of all tensors and their shapes, rows first."""
    hidden, width = config.hidden_size, config.intermediate_size
    queries, keys = (n * config.head_dim for n in (config.num_heads, config.num_kv_heads))
    layer: dict[str, tuple[int, ...]] = {"attn_norm.weight": (hidden,)}
    for name, rows in (("q", queries), ("k", keys), ("v", keys)):
        layer[f"attn_{name}.weight"] = (rows, hidden)
        if config.qkv_bias:
            layer[f"attn_{name}.bias"] = (rows,)
    if config.qk_norm:
        layer |= {f"attn_{name}_norm.weight": (config.head_dim,) for name in "qk"}
    layer |= {
        "attn_output.weight": (hidden, queries),
        "ffn_norm.weight": (hidden,),
        "ffn_gate.weight": (width, hidden),
        "ffn_up.weight": (width, hidden),
        "ffn_down.weight": (hidden, width),
    }
    vocabulary = (config.vocab_size, hidden)
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": vocabulary}
    for number in range(config.num_layers):
        found |= {f"blk.{number}.{name}": shape for name, shape in layer.items()}
    found["output_norm.weight"] = (hidden,)
    return found if config.tied_head else found | {"output.weight": vocabulary}


def _data(
    name: str, shape: tuple[int, ...], kind: str, random: np.random.Generator
) -> Iterator[bytes]:
    """The numbers of a tensor, some rows at a time."""
    if len(shape) == 1:
        yield np.full(shape, 0.0 if name.endswith("bias") else 1.0, dtype=np.float32).tobytes()
        return
    blocks = TYPES[kind]
    scale = np.frombuffer(np.float16(blocks.scale).tobytes(), dtype=np.uint8)
    for first in range(0, shape[0], _ROWS_AT_ONCE):
        count = min(_ROWS_AT_ONCE, shape[0] - first) * shape[1] // _BLOCK
        numbers: NDArray[Any] = random.integers(0, 256, (count, blocks.nbytes), dtype=np.uint8)
        numbers[:, :2] = scale
        yield numbers.tobytes()


def _nbytes(shape: tuple[int, ...], kind: str) -> int:
    return 4 * shape[0] if len(shape) == 1 else prod(shape) // _BLOCK * TYPES[kind].nbytes


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _pad(file: BinaryIO) -> None:
    file.write(bytes(_aligned(file.tell()) - file.tell()))


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _entry(name: str, value: Any) -> bytes:
    """A field: its name, the number of its type, and the value."""
    if isinstance(value, list):
        kind = _STRING if value and isinstance(value[0], str) else _INT32
        head = _text(name) + struct.pack("<IIQ", _ARRAY, kind, len(value))
        return head + b"".join(_value(one, kind) for one in value)
    kinds = {bool: _BOOL, int: _UINT32, float: _FLOAT32, str: _STRING}
    kind = kinds[type(value)]
    return _text(name) + struct.pack("<I", kind) + _value(value, kind)


def _value(value: Any, kind: int) -> bytes:
    if kind == _STRING:
        return _text(value)
    return struct.pack({_BOOL: "<?", _INT32: "<i", _UINT32: "<I", _FLOAT32: "<f"}[kind], value)


if __name__ == "__main__":
    sys.exit(main())
