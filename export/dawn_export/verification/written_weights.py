"""Are the written weights those of the checkpoint? Each is read back and compared.

Neither side goes through what wrote the file: written values are found by the offsets that
`model.onnx` itself names, source values come from the safetensors library.

========  =========================================================================================
numbers   bit by bit, after smoothing and conversion
integers  `q` is the nearest to ``w / scale`` that is used, and in mode `all` every scale is
          ``max|w| / 127`` or, at 4 bits, one of those that are searched
========  =========================================================================================

======  ==========================================================================================
all     every value of every tensor
sample  every tensor, and of a large one 16 tiles of up to 64 x 64 values: both corners on the
        diagonal, the others drawn with a fixed seed. Finds a wrong tensor, order, layout or
        conversion; may miss a single wrong value.
======  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch

from dawn_export.dtypes import TORCH_DTYPES
from dawn_export.progress import stage
from dawn_export.quantization.integers import used
from dawn_export.quantization.scales import relative_sizes
from dawn_export.report import ValueCheck
from dawn_export.verification.readback import signed_integers, written_bytes
from dawn_export.weights.layout import Integers, StoredWeight
from dawn_models import Checkpoint

_BLOCK_VALUES = 2**22
_TILE = 64
_TILES = 16
_SEED = 0

_HALF_A_STEP = 0.5 * (1 + 2**-10)
"""Largest error of an integer, in steps; the last bits of a division decide ties."""

_SCALE_ERROR = 2**-10
"""Relative error of a scale in float16, and twice as much for the last bits of the division."""

_Tile = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class _Sides:
    """One weight in the layout of the file: what it should be made of, and what was written.

    Attributes:
        source: Values of the checkpoint, [rows, columns].
        factor: float32 [rows, 1] or [columns] that they are multiplied with, or None.
        written: Numbers, or the bytes of integers, as they are in the file.
        scale: Scales of integers, [out, blocks] or turned; None for numbers.
    """

    source: torch.Tensor
    factor: torch.Tensor | None
    written: torch.Tensor
    scale: torch.Tensor | None


def check_values(
    graph: Path,
    weights: Sequence[StoredWeight],
    checkpoint: Checkpoint,
    dtype: str,
    mode: str,
    factors: Mapping[str, torch.Tensor] | None = None,
) -> ValueCheck:
    """Compares the weights in a folder with the checkpoint.

    Args:
        graph: The graph; its weights lie beside it.
        weights: How each of them is stored.
        checkpoint: Their source.
        dtype: NumPy's name of the type of what is not stored as integers.
        mode: `all` or `sample`.
        factors: Parameter -> vector its last axis was multiplied with.

    Raises:
        WeightsError: A shard cannot be read.
    """
    folder, initializers = graph.parent, ir.load(graph).graph.initializers
    compared, differing = 0, {}
    what = "every value" if mode == "all" else "a sample"
    doing = f"verifying: reading back {what} of {len(weights)} weights"
    with stage("verifying", doing, len(weights), "weight") as advance:
        for weight in weights:
            sides = _sides(
                folder, initializers, weight, checkpoint, TORCH_DTYPES[dtype], factors or {}
            )
            count, wrong = _compare(sides, weight, mode)
            compared += count
            if wrong:
                differing[weight.name] = wrong
            advance(1)
    members = [(weight.layout, name) for weight in weights for name in weight.layout.members]
    rounded = sum(layout.integers is not None for layout, _ in members)
    return ValueCheck(mode, len(members), compared, differing, rounded)


def _sides(
    folder: Path,
    initializers: Mapping[str, ir.Value],
    weight: StoredWeight,
    checkpoint: Checkpoint,
    dtype: torch.dtype,
    factors: Mapping[str, torch.Tensor],
) -> _Sides:
    layout = weight.layout
    parts = [checkpoint.tensor(name) for name in layout.members]
    source = torch.cat(parts) if len(parts) > 1 else parts[0]
    factor = factors.get(layout.members[0])
    if layout.transposed:
        source = source.t()
        factor = None if factor is None else factor[:, None]
    first, last = weight.initializers[0], weight.initializers[-1]
    if layout.integers is None:
        numbers = written_bytes(folder, initializers, first, dtype)
        return _Sides(source, factor, numbers.view(source.shape), None)
    scale = written_bytes(folder, initializers, last, dtype)
    out = source.shape[1 if layout.transposed else 0]
    scale = scale.view(-1, out) if layout.transposed else scale.view(out, -1)
    return _Sides(source, factor, written_bytes(folder, initializers, first, torch.uint8), scale)


def _compare(sides: _Sides, weight: StoredWeight, mode: str) -> tuple[int, int]:
    """Counts values that were compared, and those that differ."""
    if sides.scale is None and sides.source.numel() != sides.written.numel():
        return sides.written.numel(), sides.written.numel()
    matrix = sides.source if sides.source.ndim == 2 else sides.source[None]
    compared = wrong = 0
    for rows, columns in _tiles(tuple(matrix.shape), mode):
        expected = matrix[rows, columns]
        if sides.factor is not None:
            own = sides.factor[rows] if weight.layout.transposed else sides.factor[columns]
            expected = expected.float() * own
        compared += expected.numel()
        wrong += _differing(expected, sides, weight, rows, columns)
    if sides.scale is not None and mode == "all":
        wrong += _wrong_scales(sides, weight)
    return compared, wrong


def _differing(
    expected: torch.Tensor, sides: _Sides, weight: StoredWeight, rows: slice, columns: slice
) -> int:
    """How many values of a tile are not what they should be."""
    width = sides.source.shape[-1]
    if weight.layout.integers is not None:
        found, scale = _integer_tile(sides, weight, rows, columns)
        lowest, highest = used(_integers(weight).bits)
        steps = (expected.float() / scale).clamp_(lowest, highest)
        return int(((steps - found.float()).abs_() > _HALF_A_STEP).sum())
    # What is out of range stays within it, as the options allowed; nothing else is changed.
    limits = torch.finfo(sides.written.dtype)
    expected = expected.to(sides.written.dtype).clamp(limits.min, limits.max)
    found = sides.written.view(-1, width)[rows, columns]
    return int((_bits(expected) != _bits(found)).sum())


def _integer_tile(
    sides: _Sides, weight: StoredWeight, rows: slice, columns: slice
) -> tuple[torch.Tensor, torch.Tensor]:
    """Integers of a tile and the scale of each."""
    integers, transposed = _integers(weight), weight.layout.transposed
    height, width = sides.source.shape
    part = sides.written.view(height, -1)[rows]
    values = signed_integers(part, integers)
    if sides.scale is None:
        raise ValueError(f"weight {weight.name} has no scales")
    row_numbers, column_numbers = torch.arange(height)[rows], torch.arange(width)[columns]
    if transposed:
        row_numbers = row_numbers // integers.block
    else:
        column_numbers = column_numbers // integers.block
    return values[:, columns], sides.scale[row_numbers][:, column_numbers].float()


def _wrong_scales(sides: _Sides, weight: StoredWeight) -> int:
    """How many scales are not as large as they may be, up to the rounding of their type."""
    if sides.scale is None:
        return 0
    integers, transposed = _integers(weight), weight.layout.transposed
    source, scale = (t.t() if transposed else t for t in (sides.source, sides.scale))
    factor = sides.factor.flatten() if sides.factor is not None else None
    sizes = relative_sizes(integers.bits)
    wrong, step = 0, max(1, _BLOCK_VALUES // source.shape[1])
    for i in range(0, len(source), step):
        part = source[i : i + step].float()
        part = part if factor is None else part * factor
        largest = part.view(len(part), -1, integers.block).abs().amax(dim=2)
        found = scale[i : i + step].float()
        found = found.abs() if integers.bits == 4 and integers.offset else found
        lowest, highest = (torch.where(largest > 0, largest * r, 1.0) for r in sizes)
        tiny = torch.finfo(sides.scale.dtype).tiny
        low = found < lowest * (1 - _SCALE_ERROR) - tiny
        wrong += int((low | (found > highest * (1 + _SCALE_ERROR) + tiny)).sum())
    return wrong


def _integers(weight: StoredWeight) -> Integers:
    if weight.layout.integers is None:
        raise ValueError(f"weight {weight.name} is not stored as integers")
    return weight.layout.integers


def _bits(values: torch.Tensor) -> torch.Tensor:
    return values.contiguous().view(torch.int32 if values.itemsize == 4 else torch.int16)


def _tiles(shape: tuple[int, ...], mode: str) -> Iterator[_Tile]:
    """Which parts of a matrix are compared."""
    rows, columns = shape
    if mode == "all" or rows * columns <= _TILES * _TILE**2:
        step = max(1, _BLOCK_VALUES // columns)
        yield from ((slice(i, i + step), slice(None)) for i in range(0, rows, step))
        return
    random = np.random.default_rng(_SEED)
    last = max(0, rows - _TILE), max(0, columns - _TILE)
    drawn = (tuple(int(random.integers(0, end + 1)) for end in last) for _ in range(_TILES - 2))
    for i, j in ((0, 0), last, *drawn):
        yield slice(i, i + _TILE), slice(j, j + _TILE)
