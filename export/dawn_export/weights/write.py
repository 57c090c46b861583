"""Weights flow from the checkpoint into the external data file, block by block.

They are written in the order in which the checkpoint holds them, so that every shard is read once;
those that the graph has fused come with the first of them. In memory are one block in a few copies
(some ten megabytes) and, for a weight that is stored transposed, that weight as the checkpoint has
it and the part that is fused into it; nothing else. Every weight starts at a multiple of
`ALIGNMENT` bytes, and its scales, if it has any, follow it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import torch

from dawn_export.dtypes import TORCH_DTYPES
from dawn_export.progress import Listener, reporting, stage
from dawn_export.weights.conversion import Losses, check_losses, convert
from dawn_export.weights.data_file import DataFile
from dawn_export.weights.integers import write_integers
from dawn_export.weights.layout import StoredWeight, sizes
from dawn_export.weights.source_rows import BLOCK_BYTES, all_rows, row_blocks
from dawn_models import Checkpoint, TensorReader
from dawn_runtime.manifest_records import FileEntry

_BLOCK_COLUMNS = 32
"""Fewest columns that are turned at once: 32 of 16 bits fill one cache line of every row."""


@dataclass(frozen=True, slots=True)
class WrittenWeights:
    """What was written.

    Attributes:
        values: How many numbers.
        file: Size and hash of the file, which holds nothing else.
        vanished: Parameter -> how many of its numbers became zero in the written type; parameters
            that lost none are left out.
        overflowed: Parameter -> how many of its numbers the largest finite one stands for.
    """

    values: int
    file: FileEntry
    vanished: Mapping[str, int]
    overflowed: Mapping[str, int]


def write_weights(
    weights: Sequence[StoredWeight],
    checkpoint: Checkpoint,
    dtype: str,
    file: Path,
    *,
    factors: Mapping[str, torch.Tensor] | None = None,
    allow_overflow: bool = False,
    progress: bool | Listener = False,
) -> WrittenWeights:
    """Writes every weight into `file` and points the graph's initializers at it.

    Args:
        weights: What to write.
        checkpoint: Where the values come from.
        dtype: NumPy's name of the type to write what is not stored as integers, scales included.
        file: External data file to make, in the folder where the graph will lie.
        factors: Parameter -> float32 vector its last axis is multiplied with; None is no one.
        allow_overflow: Whether numbers beyond the range of the type become its largest one.
        progress: Who hears how far it is; see `dawn_export.progress.reporting`.

    Raises:
        ExportError: A value is not finite, or beyond the range of the written type.
        OutputError: The file cannot be written.
        WeightsError: A shard cannot be read.
    """
    lost: dict[str, Losses] = {}
    total = sum(_stored_bytes(weight.values[0]) for weight in weights)
    with (
        TensorReader(checkpoint) as reader,
        DataFile(file) as data,
        reporting(progress),
        stage("weights", f"writing {total / 1e6:.1f} MB of weights", total) as advance,
    ):
        writer = _Writer(reader, data, TORCH_DTYPES[dtype], factors or {}, advance)
        for weight in _in_order(weights, reader.order):
            lost[weight.name] = writer.write(weight)
            name = _named(weight)
            check_losses(name, lost[weight.name], writer.dtype, allow_overflow=allow_overflow)
        entry = data.finish()
    return WrittenWeights(
        values=sum(losses.values for losses in lost.values()),
        file=entry,
        vanished={name: losses.vanished for name, losses in lost.items() if losses.vanished},
        overflowed={name: losses.overflowed for name, losses in lost.items() if losses.overflowed},
    )


def _in_order(weights: Sequence[StoredWeight], order: Sequence[str]) -> list[StoredWeight]:
    """By the place of their first parameter."""
    places = {name: i for i, name in enumerate(order)}
    return sorted(weights, key=lambda weight: min(map(places.__getitem__, weight.layout.members)))


def _named(weight: StoredWeight) -> str:
    """Its name, and of what it is fused if that is several parameters, for messages."""
    members = weight.layout.members
    return weight.name if len(members) == 1 else f"{weight.name} (made of {', '.join(members)})"


@dataclass(frozen=True, slots=True)
class _Writer:
    """Appends weights to the data file."""

    reader: TensorReader
    data: DataFile
    dtype: torch.dtype
    factors: Mapping[str, torch.Tensor]
    advance: Callable[[int], None]

    def write(self, weight: StoredWeight) -> Losses:
        """Writes one weight, and its scales behind it."""
        losses = Losses()
        # What is fused has one norm before it, so one factor.
        factor = self.factors.get(weight.layout.members[0])
        offset = self.data.align()
        if weight.layout.integers is None:
            for block in _blocks(self.reader, weight):
                smoothed = block if factor is None else block.float() * factor
                self._append(convert(smoothed, self.dtype, losses))
            self._point(weight.values, offset)
            return losses
        scale = write_integers(self.reader, weight, factor, self.dtype, losses, self._append)
        self._point(weight.values, offset)
        offset = self.data.align()
        self.data.append(scale)
        self._point(weight.scales, offset)
        return losses

    def _append(self, block: torch.Tensor) -> None:
        self.data.append(block)
        self.advance(block.nbytes)

    def _point(self, values: Iterable[ir.Value], offset: int) -> None:
        """Makes initializers stand for the bytes from `offset` on."""
        for value in values:
            _point(value, self.data.path, offset, self.data.size - offset)


def _blocks(reader: TensorReader, weight: StoredWeight) -> Iterator[torch.Tensor]:
    """A weight in rows of the written layout; each block is valid until the next one."""
    if not weight.layout.transposed:
        yield from row_blocks(reader, weight)
        return
    whole = all_rows(reader, weight)
    step = max(_BLOCK_COLUMNS, BLOCK_BYTES // (whole.shape[0] * whole.itemsize))
    for i in range(0, whole.shape[1], step):
        # In two steps: torch is fast at turning what is contiguous and of one type.
        yield whole[:, i : i + step].contiguous().t().contiguous()


def _stored_bytes(value: ir.Value) -> int:
    """Bytes an initializer stands for."""
    if value.dtype is None:
        raise ValueError(f"initializer {value.name} has no type")
    return int(math.prod(sizes(value)) * value.dtype.itemsize)


def _point(value: ir.Value, file: Path, offset: int, length: int) -> None:
    """Makes an initializer stand for bytes of the file."""
    expected = _stored_bytes(value)
    if value.dtype is None or expected != length:
        raise ValueError(f"initializer {value.name}: {length} bytes written, not {expected}")
    value.const_value = ir.ExternalTensor(
        file.name,
        offset,
        length,
        value.dtype,
        shape=ir.Shape(sizes(value)),
        name=value.name or "",
        base_dir=file.parent,
    )
