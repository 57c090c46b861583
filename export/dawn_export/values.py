"""Are the written weights those of the checkpoint? Each is read back and compared bit by bit.

Neither side goes through what wrote the file: written values are found by the offsets that
`model.onnx` itself names, source values come from the safetensors library.

======  ==========================================================================================
all     every value of every tensor
sample  every tensor, and of a large one 16 tiles of up to 64 x 64 values: both corners on the
        diagonal, the others drawn with a fixed seed. Finds a wrong tensor, order, layout or
        conversion; may miss a single wrong value.
======  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch

from dawn_export.assembly import StoredWeight
from dawn_export.pieces import TORCH_DTYPES
from dawn_export.report import ValueCheck
from dawn_models import Checkpoint
from dawn_runtime.manifest import GRAPH_FILE

_BLOCK_VALUES = 2**22
_TILE = 64
_TILES = 16
_SEED = 0

_Tile = tuple[slice, slice]


def check_values(
    folder: Path, weights: Sequence[StoredWeight], checkpoint: Checkpoint, dtype: str, mode: str
) -> ValueCheck:
    """Compares the weights in a folder with the checkpoint.

    Args:
        folder: Where the graph and its weights lie.
        weights: How each parameter is stored.
        checkpoint: Their source.
        dtype: NumPy's name of the written type.
        mode: `all` or `sample`.

    Raises:
        WeightsError: A shard cannot be read.
    """
    initializers = ir.load(folder / GRAPH_FILE).graph.initializers
    compared, differing = 0, {}
    for weight in weights:
        source = checkpoint.tensor(weight.parameter)
        written = _mapped(folder, initializers[weight.parameter].const_value, TORCH_DTYPES[dtype])
        count, wrong = _compare(_as_written(source, weight), written, mode)
        compared += count
        if wrong:
            differing[weight.parameter] = wrong
    return ValueCheck(mode, len(weights), compared, differing)


def _mapped(folder: Path, tensor: ir.TensorProtocol | None, dtype: torch.dtype) -> torch.Tensor:
    """What the graph says about a weight, as a view of the file that nobody writes to."""
    if not isinstance(tensor, ir.ExternalTensor) or tensor.length is None:
        raise TypeError(f"{tensor} is no tensor of an external data file")
    path = folder / tensor.location
    content = np.memmap(path, np.uint8, "c", offset=tensor.offset or 0, shape=(tensor.length,))
    return torch.from_numpy(content).view(dtype).view(*tensor.shape.numpy())


def _as_written(source: torch.Tensor, weight: StoredWeight) -> torch.Tensor:
    return source.t() if weight.transposed else source


def _compare(source: torch.Tensor, written: torch.Tensor, mode: str) -> tuple[int, int]:
    """Counts values that were compared, and those that differ."""
    if source.shape != written.shape:
        return written.numel(), written.numel()
    source, written = (t if t.ndim == 2 else t[None] for t in (source, written))
    compared = wrong = 0
    for rows, columns in _tiles(tuple(source.shape), mode):
        # What is out of range stays within it, as the options allowed; nothing else is changed.
        limits = torch.finfo(written.dtype)
        expected = source[rows, columns].to(written.dtype).clamp(limits.min, limits.max)
        found = written[rows, columns]
        compared += found.numel()
        wrong += int((_bits(expected) != _bits(found)).sum())
    return compared, wrong


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
