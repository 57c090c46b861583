"""How large a step is: scales of a matrix, found from its values alone.

A matrix is [out, in] as checkpoints hold it. A scale belongs to `block` consecutive input channels
of one output channel, whose integers are ``q = round(w / scale)``:

======  ==========================================================================================
8 bits  ``scale = max|w| / 127``: no value is more than half a step off
4 bits  the one of a few with the least square error in its block, ``|scale| = r max|w| / 8`` with
        r from `RATIOS`. The first of them is ``max|w| / 7``, the scale that reaches the largest
        value from either side, so that no block is rounded worse than with that; smaller ones
        clip the largest value and round all the others more finely.
======  ==========================================================================================

Four bits hold -8 to 7. A scale that may be below zero is given the sign that makes the largest
value of its block -8, the end that is longer. On normally distributed blocks of 32 the error of a
value is 9.7 % of its size with ``max|w| / 7``, 8.7 % with searched scales, 8.2 % with signs too.

A scale is rounded to the type it is stored in before it divides, so that errors are those that a
reader sees.
"""

from __future__ import annotations

from typing import Final

import torch

from dawn_export.quantization.integers import blocks, nearest, used

RATIOS: Final = (8 / 7, 1.07, 1.0, 0.95, 0.9)
"""Scales that are tried at 4 bits, over max|w| / 8; the first of equals is taken."""

_VALUES = 2**18
"""How many are rounded at a time: what stays in a core's cache is passed over many times."""


def relative_sizes(bits: int) -> tuple[float, float]:
    """The smallest and the largest that a scale can be, over max|w| of its block."""
    return (min(RATIOS) / 8, max(RATIOS) / 8) if bits == 4 else (1 / used(8)[1],) * 2


def scales(
    weight: torch.Tensor, bits: int, block: int, dtype: torch.dtype, *, negative: bool
) -> torch.Tensor:
    """Scales of rows of a matrix.

    Args:
        weight: [rows, in], finite.
        bits: 8 or 4.
        block: Input channels that share a scale; divides `in`.
        dtype: Type the scales are stored in.
        negative: Whether a scale of 4 bits may be below zero.

    Returns:
        [rows, in / block], none of them zero; where all values are zero it is 1.
    """
    if bits == 4:
        step = max(1, _VALUES // weight.shape[1])
        parts = [_searched(blocks(p, block), dtype, negative) for p in torch.split(weight, step)]
        return torch.cat(parts)
    return _stored(blocks(weight, block).abs().amax(dim=-1).float() / used(bits)[1], dtype)


def _searched(values: torch.Tensor, dtype: torch.dtype, negative: bool) -> torch.Tensor:
    """Scales [rows, n] of the blocks [rows, n, block], at 4 bits."""
    values = values.float()
    at = values.abs().argmax(dim=-1, keepdim=True)
    largest = values.gather(-1, at).squeeze(-1)
    largest = -largest if negative else largest.abs()
    best = _stored(RATIOS[0] / 8 * largest, dtype)
    least = _square_error(values, best)
    for ratio in RATIOS[1:]:
        scale = _stored(ratio / 8 * largest, dtype)
        error = _square_error(values, scale)
        better = error < least
        best, least = torch.where(better, scale, best), torch.where(better, error, least)
    return best


def _square_error(values: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Sum over each block [rows, n, block] of the squares of its errors, [rows, n]."""
    step = scale.float().unsqueeze(-1)
    errors = nearest(values / step, 4).mul_(step).sub_(values)
    return errors.square_().sum(dim=-1)


def _stored(scale: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Scales as they are stored: not too small for their type, and 1 instead of 0."""
    smallest = torch.finfo(dtype).tiny
    kept = scale.abs().clamp_(min=smallest).copysign_(scale).to(dtype)
    return torch.where(scale == 0, torch.ones_like(kept), kept)
