"""Keys and values in 8 bits: what a graph with `kv = int8` keeps of a token, and how it reads it.

A head of D channels is kept as a row of bytes, the key and the value each. Groups of 32 channels
share a scale (the whole head, where D is no multiple of 32), found for every position and head when
they are computed. With a the largest absolute value of a group:

    level  = max(1, ceil(1024 * a ** (1 / 4)))          two bytes, the high one apart from the low
    scale  = (level / 1024) ** 4 / 127
    byte   = 128 + round(number / scale)                ties to even; 1 to 255

    row    = D bytes | G high bytes | G low bytes | what fills up a multiple of 4

Why so:

- *A scale for each position.* Caches write and rewrite positions one by one, in any order. A scale
  for each channel, over a block of positions, would have to wait for the block or be redone with
  all that it covers; one found in a calibration clips what it has not seen. This one is exact under
  rewriting, and a row of a batch has the bytes that it has alone.
- *Groups of channels.* Some channels of keys are far larger than the others (KIVI, arXiv
  2402.02750); a scale for the head would leave the others few steps. Groups of 32 with 16 bits each
  are `Q8_0` of llama.cpp, which it offers for keys and values.
- *The fourth root.* A square root is rounded alike everywhere, a logarithm is not; two bytes of it
  span 1e-12 to 2 ** 23, with scales at most 4 / level (0.4 % at 1) above what is needed.
- *One row.* Scales travel with what they scale: whoever moves, saves or shares keys moves rows of
  bytes and knows nothing of them.

Attention reads what the cache will give back, of the fed rows too. So a cached pass computes what a
full one does, as with floats, but for values that lie between two bytes: a difference of 1e-6 in
the order of sums may move those by a step. Causal caches lose nothing beside.

A group with a NaN, an infinity or more than 2 ** 23 in all has level 65535, which reads as infinity
times the bytes: the step fails, as it does with floats, instead of going on with something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from dawn_models import KeyValue
from dawn_models.transformer import Joining, joined
from dawn_runtime import contract

_ZERO: Final = 128
_STEPS: Final = 127
_LEVELS: Final = 1024
_UNUSABLE: Final = 65535
_LIMIT: Final = 2.0**23


def packed(numbers: Tensor) -> Tensor:
    """Returns rows of bytes as float32 [.., contract.kv_width], of numbers [.., D]."""
    width = numbers.shape[-1]
    _, groups, _, filling = _parts(width)
    grouped = _grouped(numbers.float(), groups)
    magnitude = grouped.abs()
    root = magnitude.amax(dim=-1).sqrt().sqrt()
    # A sum tells a NaN; the kernels of some engines leave it out of a maximum.
    usable = magnitude.sum(dim=-1) < _LIMIT
    level = torch.where(usable, (root * _LEVELS).ceil().clamp(min=1), float(_UNUSABLE))
    steps = (grouped / _scale(level).unsqueeze(-1)).round() + _ZERO
    high = (level / 256).floor()
    low = level - high * 256
    return torch.cat([_ungrouped(steps), high, low, *[low[..., :1]] * filling], dim=-1)


def unpacked(rows: Tensor, width: int) -> Tensor:
    """Returns the numbers that rows of bytes stand for, float32 [.., width].

    Args:
        rows: [.., contract.kv_width] from `packed`, or the same as uint8.
        width: D.
    """
    parts = _parts(width)
    values, high, low, *_ = torch.split(rows.float(), [size for size in parts if size], dim=-1)
    scale = _scale(high * 256 + low).unsqueeze(-1)
    return _ungrouped(_grouped(values - _ZERO, parts[1]) * scale)


def _parts(width: int) -> tuple[int, int, int, int]:
    """Sizes of the four parts of a row; see the module."""
    groups = contract.kv_groups(width)
    return width, groups, groups, contract.kv_width(width, contract.KV_PACKED) - width - 2 * groups


def _grouped(numbers: Tensor, groups: int) -> Tensor:
    """[.., D] -> [.., G, D / G]."""
    return numbers.reshape(*numbers.shape[:-1], groups, numbers.shape[-1] // groups)


def _ungrouped(numbers: Tensor) -> Tensor:
    """[.., G, D / G] -> [.., D]."""
    return numbers.reshape(*numbers.shape[:-2], numbers.shape[-2] * numbers.shape[-1])


def _scale(level: Tensor) -> Tensor:
    """[.., G] -> float32 [.., G]."""
    root = level / _LEVELS
    square = root * root
    return torch.where(level == _UNUSABLE, float("inf"), square * square / _STEPS)


def join_packed(past: KeyValue | None, new: KeyValue) -> tuple[KeyValue, KeyValue]:
    """Keeps keys and values as rows of uint8; see `dawn_models.transformer.Joining`."""
    # In one go: the nodes of a graph cost more than the few numbers that a step feeds.
    rows = KeyValue(*packed(torch.cat(new, dim=1)).chunk(2, dim=1))
    kept = KeyValue(*(part.to(torch.uint8) for part in rows))
    if past is not None:
        rows = KeyValue(
            *(torch.cat([old.float(), part], dim=2) for old, part in zip(past, rows, strict=True))
        )
    read = (
        unpacked(part, old.shape[-1]).to(old.dtype) for part, old in zip(rows, new, strict=True)
    )
    return kept, KeyValue(*read)


JOININGS: Final[Mapping[str, Joining]] = {"float": joined, "int8": join_packed}
"""Kind of keys and values, one of `contract.KV_KINDS` -> how layers keep them."""
