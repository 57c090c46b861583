"""Weights flow from the checkpoint into the external data file, block by block.

They are written in the order in which the checkpoint holds them, so that every shard is read once;
those that the graph has fused come with the first of them. In memory are one block in a few copies
(some ten megabytes) and, for a weight that is stored transposed, that weight as the checkpoint has
it and the part that is fused into it; nothing else. Every weight starts at a multiple of
`ALIGNMENT` bytes, and its scales, if it has any, follow it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import torch

from dawn_export.dtypes import TORCH_DTYPES
from dawn_export.progress import Listener, reporting, stage
from dawn_export.weights.conversion import Losses, check_losses, convert
from dawn_export.weights.data_file import DataFile
from dawn_export.weights.integers import write_integers
from dawn_export.weights.layout import Layout, StoredWeight, sizes
from dawn_export.weights.plan import stored_bytes
from dawn_export.weights.source_rows import BLOCK_BYTES, all_rows, row_blocks
from dawn_models import Checkpoint, TensorReader
from dawn_runtime.manifest_records import FileEntry

_BLOCK_COLUMNS = 32
"""Fewest columns that are turned at once: 32 of 16 bits fill one cache line of every row."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where bytes are in the data file.

    Attributes:
        offset: Of the first of them.
        length: How many.
    """

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Stored:
    """One weight as it is in the data file.

    Attributes:
        layout: How it is stored.
        values: Its bytes.
        scales: Those of its scales, if it has any.
    """

    layout: Layout
    values: Place
    scales: Place | None


@dataclass(frozen=True, slots=True)
class WrittenWeights:
    """What was written.

    Attributes:
        values: How many numbers.
        file: Size and hash of the file, which holds nothing else.
        stored: Name of a weight -> how and where it is.
        vanished: Parameter -> how many of its numbers became zero in the written type; parameters
            that lost none are left out.
        overflowed: Parameter -> how many of its numbers the largest finite one stands for.
    """

    values: int
    file: FileEntry
    stored: Mapping[str, Stored]
    vanished: Mapping[str, int]
    overflowed: Mapping[str, int]


def write_weights(
    layouts: Mapping[str, Layout],
    checkpoint: Checkpoint,
    dtype: str,
    file: Path,
    *,
    factors: Mapping[str, torch.Tensor] | None = None,
    allow_overflow: bool = False,
    progress: bool | Listener = False,
) -> WrittenWeights:
    """Writes every weight into `file`.

    Args:
        layouts: Name of every weight -> how it is stored.
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
    stored: dict[str, Stored] = {}
    kind = TORCH_DTYPES[dtype]
    with (
        TensorReader(checkpoint) as reader,
        DataFile(file) as data,
        reporting(progress),
        _stage(layouts, reader, kind) as advance,
    ):
        writer = _Writer(reader, data, kind, factors or {}, advance)
        for name in _in_order(layouts, reader.order):
            lost[name] = Losses()
            stored[name] = writer.write(layouts[name], lost[name])
            described = _named(name, layouts[name])
            check_losses(described, lost[name], kind, allow_overflow=allow_overflow)
        entry = data.finish()
    return WrittenWeights(
        values=sum(losses.values for losses in lost.values()),
        file=entry,
        stored=stored,
        vanished={name: losses.vanished for name, losses in lost.items() if losses.vanished},
        overflowed={name: losses.overflowed for name, losses in lost.items() if losses.overflowed},
    )


def _stage(
    layouts: Mapping[str, Layout], reader: TensorReader, kind: torch.dtype
) -> AbstractContextManager[Callable[[int], None]]:
    """The stage, measured in bytes of values."""
    shapes = {name: reader.shape(name) for name in reader.order}
    total = sum(stored_bytes(layout, shapes, kind.itemsize)[0] for layout in layouts.values())
    return stage("weights", f"writing {total / 1e6:.1f} MB of weights", total)


def _in_order(layouts: Mapping[str, Layout], order: Sequence[str]) -> list[str]:
    """Names by the place of their first parameter."""
    places = {name: i for i, name in enumerate(order)}
    return sorted(layouts, key=lambda name: min(map(places.__getitem__, layouts[name].members)))


def _named(name: str, layout: Layout) -> str:
    """A name, and of what it is fused if that is several parameters, for messages."""
    members = layout.members
    return name if len(members) == 1 else f"{name} (made of {', '.join(members)})"


@dataclass(frozen=True, slots=True)
class _Writer:
    """Appends weights to the data file."""

    reader: TensorReader
    data: DataFile
    dtype: torch.dtype
    factors: Mapping[str, torch.Tensor]
    advance: Callable[[int], None]

    def write(self, layout: Layout, losses: Losses) -> Stored:
        """Writes one weight, and its scales behind it."""
        # What is fused has one norm before it, so one factor.
        factor = self.factors.get(layout.members[0])
        offset = self.data.align()
        if layout.integers is None:
            for block in _blocks(self.reader, layout, factor):
                self._append(convert(block, self.dtype, losses))
            return Stored(layout, self._since(offset), None)
        scale = write_integers(self.reader, layout, factor, self.dtype, losses, self._append)
        values = self._since(offset)
        offset = self.data.align()
        self.data.append(scale)
        return Stored(layout, values, self._since(offset))

    def _append(self, block: torch.Tensor) -> None:
        self.data.append(block)
        self.advance(block.nbytes)

    def _since(self, offset: int) -> Place:
        return Place(offset, self.data.size - offset)


def _blocks(
    reader: TensorReader, layout: Layout, factor: torch.Tensor | None
) -> Iterator[torch.Tensor]:
    """A weight in rows of the written layout; each block is valid until the next one.

    Args:
        reader: Of the checkpoint.
        layout: How the weight is stored.
        factor: What its last axis is multiplied with, as the checkpoint has it, or None.
    """
    if not layout.transposed:
        for rows in row_blocks(reader, layout):
            yield rows if factor is None else rows.float() * factor
        return
    whole = all_rows(reader, layout)
    step = max(_BLOCK_COLUMNS, BLOCK_BYTES // (whole.shape[0] * whole.itemsize))
    for i in range(0, whole.shape[1], step):
        # In two steps: torch is fast at turning what is contiguous and of one type.
        columns = whole[:, i : i + step].contiguous()
        if factor is not None:
            columns = columns.float() * factor[i : i + step]
        yield columns.t().contiguous()


def point_to(weights: Collection[StoredWeight], written: WrittenWeights, file: Path) -> None:
    """Makes the initializers of a graph stand for what was written.

    Args:
        weights: What the graph reads.
        written: What was written.
        file: Where to.

    Raises:
        ValueError: The graph reads something else, which is a fault of `weights.plan`.
    """
    wanted = {weight.name: weight.layout for weight in weights}
    layouts = {name: stored.layout for name, stored in written.stored.items()}
    if wanted != layouts:
        name = min({name for name, _ in wanted.items() ^ layouts.items()})
        raise ValueError(f"{name}: the graph reads {wanted.get(name)}, not {layouts.get(name)}")
    for weight in weights:
        stored = written.stored[weight.name]
        for value in weight.values:
            _point(value, file, stored.values)
        for value in weight.scales:
            _point(value, file, stored.scales or Place(0, 0))


def _point(value: ir.Value, file: Path, place: Place) -> None:
    """Makes an initializer stand for bytes of the file."""
    if value.dtype is None:
        raise ValueError(f"initializer {value.name} has no type")
    expected = math.prod(sizes(value)) * value.dtype.itemsize
    if expected != place.length:
        raise ValueError(f"initializer {value.name}: {place.length} bytes written, not {expected}")
    value.const_value = ir.ExternalTensor(
        file.name,
        place.offset,
        place.length,
        value.dtype,
        shape=ir.Shape(sizes(value)),
        name=value.name or "",
        base_dir=file.parent,
    )
