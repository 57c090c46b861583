"""From numbers to small integers and back: pure functions on blocks of a matrix.

A matrix is [out, in] as checkpoints hold it. A scale belongs to `block` consecutive input channels
of one output channel (`dawn_export.quantization.scales`):

    q = round(w / scale)        ties to even, clipped to [-127, 127] or, at 4 bits, [-8, 7]

Eight bits leave -128 out, which would be used by no scale of `max|w| / 127`.
"""

from __future__ import annotations

import torch

from dawn_export.errors import ExportError

_SMALLEST_BLOCK = 16
"""Fewest input channels that share a scale in ONNX Runtime's and TensorRT's kernels."""


def used(bits: int) -> tuple[int, int]:
    """Smallest and largest integer that a weight of 8 or 4 bits is rounded to."""
    return (-8, 7) if bits == 4 else (-127, 127)


def nearest(steps: torch.Tensor, bits: int) -> torch.Tensor:
    """Rounds multiples of a scale, in place, to the nearest integers that are used."""
    return steps.round_().clamp_(*used(bits))


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


def quantize(weight: torch.Tensor, scale: torch.Tensor, bits: int) -> torch.Tensor:
    """Rounds rows of a matrix to integers.

    Args:
        weight: [rows, in].
        scale: [rows, in / block], not zero.
        bits: 8 or 4.

    Returns:
        int8 [rows, in].
    """
    block = weight.shape[1] // scale.shape[1]
    steps = blocks(weight.float(), block) / scale.float().unsqueeze(-1)
    return nearest(steps, bits).to(torch.int8).view(weight.shape)


def dequantize(integers: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The numbers that integers [rows, in] stand for, in float32."""
    block = integers.shape[1] // scale.shape[1]
    numbers = blocks(integers.float(), block) * scale.float().unsqueeze(-1)
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


def blocks(weight: torch.Tensor, block: int) -> torch.Tensor:
    """[rows, in] -> [rows, in / block, block]."""
    return weight.reshape(weight.shape[0], weight.shape[1] // block, block)
