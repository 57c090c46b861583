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

from dawn_export.quantization.integers import pack_nibbles, quantize
from dawn_export.quantization.scales import scales
from dawn_export.weights.conversion import Losses
from dawn_export.weights.layout import Integers, Layout
from dawn_export.weights.source_rows import BLOCK_BYTES, all_rows, row_blocks
from dawn_models import TensorReader

_COLUMNS = 32
"""Fewest columns that are turned at once; a matrix of a whole vocabulary is tall."""


def write_integers(
    reader: TensorReader,
    layout: Layout,
    factor: torch.Tensor | None,
    dtype: torch.dtype,
    losses: Losses,
    append: Callable[[torch.Tensor], None],
) -> torch.Tensor:
    """Appends the integers of a weight; returns its scales as they are stored.

    Args:
        reader: Of the checkpoint.
        layout: How it is stored, in integers.
        factor: float32 [in] that input channels are multiplied with first, or None.
        dtype: Type of the scales.
        losses: Values that are not finite are counted there.
        append: Takes contiguous blocks of bytes.
    """
    integers = layout.integers
    if integers is None:
        raise ValueError(f"{layout} has no integers")
    scale = _room_for_scales(reader, layout, integers, dtype)
    done = 0
    if not layout.transposed:
        for block in row_blocks(reader, layout):
            rows = _smoothed(block, factor, losses)
            own = scale[done : done + len(rows)]
            own.copy_(_scales(rows, integers, dtype))
            append(stored_integers(quantize(rows, own, integers.bits), integers))
            done += len(rows)
        return scale
    matrix = all_rows(reader, layout)
    step = max(1, BLOCK_BYTES // (matrix.shape[1] * matrix.itemsize))
    for part in torch.split(matrix, step):
        rows = _smoothed(part, factor, losses)
        scale[done : done + len(rows)].copy_(_scales(rows, integers, dtype))
        done += len(rows)
    for columns in _turned(matrix, factor, scale, integers):
        append(stored_integers(columns, integers))
    return scale.t().contiguous()


def _room_for_scales(
    reader: TensorReader, layout: Layout, integers: Integers, dtype: torch.dtype
) -> torch.Tensor:
    """Scales [out, in / block], not filled yet.

    Made before the blocks are read: small tensors that stay, made between large ones that go, keep
    the allocator from using the large places again.
    """
    shapes = [reader.shape(name) for name in layout.members]
    return torch.empty(
        sum(shape[0] for shape in shapes), shapes[0][1] // integers.block, dtype=dtype
    )


def _scales(rows: torch.Tensor, integers: Integers, dtype: torch.dtype) -> torch.Tensor:
    """Scales of rows. Where integers have a sign TensorRT may read them, which wants scales > 0."""
    negative = integers.offset != 0
    return scales(rows, integers.bits, integers.block, dtype, negative=negative)


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
    whole = integers.block == width
    fewest = _COLUMNS if whole else max(_COLUMNS, integers.block)
    step = max(fewest, BLOCK_BYTES // (matrix.shape[0] * 4) // fewest * fewest)
    for i in range(0, width, step):
        # Contiguous first: torch is fast at turning what is contiguous and of one type.
        columns = matrix[:, i : i + step].contiguous().float()
        if factor is not None:
            columns.mul_(factor[i : i + step])
        own = scale if whole else scale[:, i // integers.block : (i + step) // integers.block]
        yield quantize(columns.nan_to_num_(), own, integers.bits).t().contiguous()


def stored_integers(values: torch.Tensor, integers: Integers) -> torch.Tensor:
    """The bytes of int8 values.

    Adding 128 to a byte is turning its highest bit round: what is left has no sign.
    """
    if integers.bits == 4:
        return pack_nibbles((values + integers.offset).flatten())
    return values.view(torch.uint8) ^ integers.offset
