"""A matrix of the checkpoint becomes integers and scales, block by block.

=============  ==================================================================================
rows           scales of a row come from that row alone: blocks of rows go straight through
turned         the file holds [in, out]: the matrix is in memory as the checkpoint has it, its
               scales are found first, then columns are rounded and turned
=============  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from dawn_export.conversion import Losses
from dawn_export.quantization.integers import pack_nibbles, quantize, scales
from dawn_export.source_rows import BLOCK_BYTES, all_rows, row_blocks
from dawn_export.stored import Integers, StoredWeight
from dawn_models import TensorReader

_COLUMNS = 128
"""Fewest columns that are turned at once, a multiple of every block."""


def write_integers(
    reader: TensorReader,
    weight: StoredWeight,
    factor: torch.Tensor | None,
    dtype: torch.dtype,
    losses: Losses,
    append: Callable[[torch.Tensor], None],
) -> torch.Tensor:
    """Appends the integers of a weight; returns its scales as they are stored.

    Args:
        reader: Of the checkpoint.
        weight: What to write; its layout has integers.
        factor: float32 [in] that input channels are multiplied with first, or None.
        dtype: Type of the scales.
        losses: Values that are not finite are counted there.
        append: Takes contiguous blocks of bytes.
    """
    integers = weight.layout.integers
    if integers is None:
        raise ValueError(f"weight {weight.name} is not stored as integers")
    found: list[torch.Tensor] = []
    if not weight.layout.transposed:
        for block in row_blocks(reader, weight):
            rows = _smoothed(block, factor, losses)
            found.append(scales(rows, integers.bits, integers.block, dtype))
            append(stored_integers(quantize(rows, found[-1], integers.bits), integers))
        return torch.cat(found)
    matrix = all_rows(reader, weight)
    step = max(1, BLOCK_BYTES // (matrix.shape[1] * matrix.itemsize))
    for rows in torch.split(matrix, step):
        smoothed = _smoothed(rows, factor, losses)
        found.append(scales(smoothed, integers.bits, integers.block, dtype))
    scale = torch.cat(found)
    for columns in _turned(matrix, factor, scale, integers):
        append(stored_integers(columns, integers))
    return scale.t().contiguous()


def _smoothed(rows: torch.Tensor, factor: torch.Tensor | None, losses: Losses) -> torch.Tensor:
    """Rows in float32 with finite values."""
    smoothed = rows.float() if factor is None else rows.float().mul_(factor)
    losses.values += rows.numel()
    lowest, highest = torch.aminmax(smoothed)
    if not (torch.isfinite(lowest) and torch.isfinite(highest)):
        losses.damaged += int((~torch.isfinite(smoothed)).sum())
        smoothed = smoothed.nan_to_num()
    return smoothed


def _turned(
    matrix: torch.Tensor, factor: torch.Tensor | None, scale: torch.Tensor, integers: Integers
) -> Iterator[torch.Tensor]:
    """Integers [columns, out], from the first column on."""
    width = matrix.shape[1]
    step = max(_COLUMNS, BLOCK_BYTES // (matrix.shape[0] * 4) // _COLUMNS * _COLUMNS)
    for i in range(0, width, step):
        # Contiguous first: torch is fast at turning what is contiguous and of one type.
        columns = matrix[:, i : i + step].contiguous().float()
        if factor is not None:
            columns.mul_(factor[i : i + step])
        whole = integers.block == width
        own = scale if whole else scale[:, i // integers.block : (i + step) // integers.block]
        yield quantize(columns.nan_to_num_(), own, integers.bits).t().contiguous()


def stored_integers(values: torch.Tensor, integers: Integers) -> torch.Tensor:
    """The bytes of int8 values.

    Adding 128 to a byte is turning its highest bit round: what is left has no sign.
    """
    if integers.bits == 4:
        return pack_nibbles((values + integers.offset).flatten())
    return values.view(torch.uint8) ^ integers.offset
