"""A matrix of the checkpoint becomes integers and scales, block by block.

=============  ==================================================================================
rows           scales of a row come from that row alone: blocks of rows go straight through
turned         the file holds [in, out]: the matrix is in memory as the checkpoint has it, its
               scales are found first, then columns are rounded and turned
=============  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from dawn_export.quantization.integers import pack_nibbles, quantize
from dawn_export.quantization.scales import scales
from dawn_export.weights.conversion import Losses
from dawn_export.weights.in_order import InOrder
from dawn_export.weights.layout import Integers, Layout
from dawn_export.weights.source_rows import BLOCK_BYTES, all_rows, row_blocks
from dawn_models import TensorReader

_COLUMNS = 32
"""Fewest columns that are turned at once; a matrix of a whole vocabulary is tall."""


@dataclass(frozen=True, slots=True)
class IntegerWriter:
    """Appends the integers of matrices to the data file.

    Attributes:
        reader: Of the checkpoint.
        in_order: Threads that make blocks.
        dtype: Type of the scales.
        append: Takes contiguous blocks of bytes.
    """

    reader: TensorReader
    in_order: InOrder
    dtype: torch.dtype
    append: Callable[[torch.Tensor], None]

    def write(self, layout: Layout, factor: torch.Tensor | None, losses: Losses) -> torch.Tensor:
        """Appends the integers of a weight; returns its scales as they are stored.

        Args:
            layout: How it is stored, in integers.
            factor: float32 [in] that input channels are multiplied with first, or None.
            losses: Values that are not finite are counted there.
        """
        if layout.integers is None:
            raise ValueError(f"{layout} has no integers")
        scale = self._room_for_scales(layout, layout.integers)
        if layout.transposed:
            self._turned(layout, layout.integers, factor, scale, losses)
            return scale.t().contiguous()
        self._in_rows(layout, layout.integers, factor, scale, losses)
        return scale

    def _in_rows(
        self,
        layout: Layout,
        integers: Integers,
        factor: torch.Tensor | None,
        scale: torch.Tensor,
        losses: Losses,
    ) -> None:
        def rounded(block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Losses]:
            rows, lost = _smoothed(block, factor)
            own = _scales(rows, integers, self.dtype)
            return stored_integers(quantize(rows, own, integers.bits), integers), own, lost

        done = 0
        # A block of the reader's buffer is overwritten by the next: one at a time.
        for stored, own, lost in self.in_order.map(rounded, row_blocks(self.reader, layout), 0):
            scale[done : done + len(own)] = own
            done += len(own)
            losses.add(lost)
            self.append(stored)

    def _turned(
        self,
        layout: Layout,
        integers: Integers,
        factor: torch.Tensor | None,
        scale: torch.Tensor,
        losses: Losses,
    ) -> None:
        matrix = all_rows(self.reader, layout)

        def scaled(part: slice) -> Losses:
            rows, lost = _smoothed(matrix[part], factor)
            scale[part] = _scales(rows, integers, self.dtype)
            return lost

        step = max(1, BLOCK_BYTES // (matrix.shape[1] * matrix.itemsize))
        for lost in self.in_order.map(scaled, _slices(len(matrix), step)):
            losses.add(lost)

        def rounded(part: slice) -> torch.Tensor:
            # Contiguous first: torch is fast at turning what is contiguous and of one type.
            columns = matrix[:, part].contiguous().float()
            if factor is not None:
                columns.mul_(factor[part])
            block = integers.block
            own = scale[:, part.start // block : -(-part.stop // block)]
            turned = quantize(columns.nan_to_num_(), own, integers.bits).t().contiguous()
            return stored_integers(turned, integers)

        fewest = _COLUMNS if integers.block == matrix.shape[1] else max(_COLUMNS, integers.block)
        step = max(fewest, BLOCK_BYTES // (len(matrix) * 4) // fewest * fewest)
        for stored in self.in_order.map(rounded, _slices(matrix.shape[1], step)):
            self.append(stored)

    def _room_for_scales(self, layout: Layout, integers: Integers) -> torch.Tensor:
        """Scales [out, in / block], not filled yet.

        Made before the blocks are read: small tensors that stay, made between large ones that go,
        keep the allocator from using the large places again.
        """
        shapes = [self.reader.shape(name) for name in layout.members]
        return torch.empty(
            sum(shape[0] for shape in shapes), shapes[0][1] // integers.block, dtype=self.dtype
        )


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(i, min(i + step, length)) for i in range(0, length, step))


def _scales(rows: torch.Tensor, integers: Integers, dtype: torch.dtype) -> torch.Tensor:
    """Scales of rows. Where integers have a sign TensorRT may read them, which wants scales > 0."""
    negative = integers.offset != 0
    return scales(rows, integers.bits, integers.block, dtype, negative=negative)


def _smoothed(rows: torch.Tensor, factor: torch.Tensor | None) -> tuple[torch.Tensor, Losses]:
    """Rows in float32 with finite values, and how many were not."""
    smoothed = rows.float() if factor is None else rows.float().mul_(factor)
    losses = Losses(rows.numel())
    lowest, highest = torch.aminmax(smoothed)
    if not (torch.isfinite(lowest) and torch.isfinite(highest)):
        losses.damaged = int((~torch.isfinite(smoothed)).sum())
        smoothed = smoothed.nan_to_num()
    return smoothed, losses


def stored_integers(values: torch.Tensor, integers: Integers) -> torch.Tensor:
    """The bytes of int8 values.

    Adding 128 to a byte is turning its highest bit round: what is left has no sign.
    """
    if integers.bits == 4:
        return pack_nibbles((values + integers.offset).flatten())
    return values.view(torch.uint8) ^ integers.offset
