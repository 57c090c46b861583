"""From numbers to small integers and back: pure functions on blocks of a matrix.

A matrix is [out, in] as checkpoints hold it. A scale belongs to `block` consecutive input channels
of one output channel:

    scale = max|w| / limit          limit = 2 ** (bits - 1) - 1: 127 or 7
    q     = round(w / scale)        ties to even, clipped to [-limit, limit]
    |w - q * scale| <= scale / 2

A scale is rounded to the type it is stored in before it divides, so that the bound holds for what
a reader computes; rounding makes max|w| exceed the range by less than half a step.
"""

from __future__ import annotations

import torch

from dawn_export.errors import ExportError

_SMALLEST_BLOCK = 16
"""Fewest input channels that share a scale in ONNX Runtime's and TensorRT's kernels."""


def limit(bits: int) -> int:
    """Largest integer that is used, and minus the smallest."""
    return int(2 ** (bits - 1)) - 1


def block_size(name: str, width: int, preferred: int | None) -> int:
    """How many input channels share a scale: `preferred`, or a smaller power of two that fits.

    Args:
        name: Of the matrix, for messages.
        width: Its input channels.
        preferred: As the scheme has it; None is all of them.

    Raises:
        ExportError: Not even the smallest block divides the width.
    """
    size = width if preferred is None else preferred
    while width % size and size > _SMALLEST_BLOCK:
        size //= 2
    if width % size:
        raise ExportError(
            f"weight {name}: {width} input channels are no multiple of {_SMALLEST_BLOCK}, which "
            "blocks of a scale need; export at int8 on the CPU, or not quantised"
        )
    return size


def scales(weight: torch.Tensor, bits: int, block: int, dtype: torch.dtype) -> torch.Tensor:
    """Scales of rows of a matrix.

    Args:
        weight: [rows, in], finite.
        bits: 8 or 4.
        block: Input channels that share a scale; divides `in`.
        dtype: Type the scales are stored in.

    Returns:
        [rows, in / block], all above zero; where all values are zero it is 1.
    """
    largest = _blocks(weight, block).abs().amax(dim=-1).float()
    smallest = torch.finfo(dtype).tiny
    found = (largest / limit(bits)).clamp_(min=smallest).to(dtype)
    return torch.where(largest > 0, found, torch.ones_like(found))


def quantize(weight: torch.Tensor, scale: torch.Tensor, bits: int) -> torch.Tensor:
    """Rounds rows of a matrix to integers.

    Args:
        weight: [rows, in].
        scale: [rows, in / block], from `scales`.
        bits: 8 or 4.

    Returns:
        int8 [rows, in].
    """
    block = weight.shape[1] // scale.shape[1]
    steps = _blocks(weight.float(), block) / scale.float().unsqueeze(-1)
    most = limit(bits)
    return steps.round_().clamp_(-most, most).to(torch.int8).view(weight.shape)


def dequantize(integers: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The numbers that integers [rows, in] stand for, in float32."""
    block = integers.shape[1] // scale.shape[1]
    numbers = _blocks(integers.float(), block) * scale.float().unsqueeze(-1)
    return numbers.view(integers.shape)


def pack_nibbles(integers: torch.Tensor) -> torch.Tensor:
    """Two integers a byte, the first in the low half: [..., 2 n] in 4 bits -> uint8 [..., n].

    Of integers below zero the two's complement is kept, as ONNX stores INT4.
    """
    low, high = integers[..., 0::2], integers[..., 1::2]
    return ((low & 15) | ((high & 15) << 4)).to(torch.uint8)


def unpack_nibbles(packed: torch.Tensor, *, signed: bool) -> torch.Tensor:
    """The opposite of `pack_nibbles`: uint8 [..., n] -> int8 [..., 2 n]."""
    halves = torch.stack([packed & 15, packed >> 4], dim=-1).flatten(-2).to(torch.int8)
    return ((halves ^ 8) - 8) if signed else halves


def _blocks(weight: torch.Tensor, block: int) -> torch.Tensor:
    """[rows, in] -> [rows, in / block, block]."""
    return weight.reshape(weight.shape[0], weight.shape[1] // block, block)
