"""Weights flow from the checkpoint into the external data file, block by block.

They are written in the order in which the checkpoint holds them, so that every shard is read once
from its start to its end. In memory are one block in a few copies (some ten megabytes) and, for a
weight that is stored transposed, that weight as the checkpoint has it; nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import onnx_ir as ir
import torch
from tqdm import tqdm

from dawn_export.assembly import StoredWeight
from dawn_export.conversion import Losses, check_losses, convert
from dawn_export.data_file import DataFile
from dawn_export.pieces import TORCH_DTYPES
from dawn_models import Checkpoint, TensorReader
from dawn_runtime.manifest_records import FileEntry

_BLOCK_BYTES = 4 * 2**20
"""About how much is read at once; what fits the caches is converted several times as fast."""

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
    allow_overflow: bool = False,
    progress: bool = False,
) -> WrittenWeights:
    """Writes every weight into `file` and points the graph's initializers at it.

    Args:
        weights: What to write, without padding between.
        checkpoint: Where the values come from.
        dtype: NumPy's name of the type to write.
        file: External data file to make, in the folder where the graph will lie.
        allow_overflow: Whether numbers beyond the range of the type become its largest one.
        progress: Whether to show a progress bar on standard error.

    Raises:
        ExportError: A value is not finite, or beyond the range of the written type.
        OutputError: The file cannot be written.
        WeightsError: A shard cannot be read.
    """
    stored = {weight.parameter: weight for weight in weights}
    written = TORCH_DTYPES[dtype]
    lost: dict[str, Losses] = {}
    total = sum(torch.Size(checkpoint.tensors[name].shape).numel() for name in stored)
    with (
        TensorReader(checkpoint) as reader,
        DataFile(file) as data,
        _bar(total * written.itemsize, progress=progress) as bar,
    ):
        for name in filter(stored.__contains__, reader.order):
            bar.set_postfix_str(name, refresh=False)
            offset, lost[name] = data.size, Losses()
            for block in _blocks(reader, stored[name]):
                converted = convert(block, written, lost[name])
                data.append(converted)
                bar.update(converted.nbytes)
            check_losses(name, lost[name], written, allow_overflow=allow_overflow)
            _point(stored[name].value, file, offset, data.size - offset)
        entry = data.finish()
    return WrittenWeights(
        values=sum(losses.values for losses in lost.values()),
        file=entry,
        vanished={name: losses.vanished for name, losses in lost.items() if losses.vanished},
        overflowed={name: losses.overflowed for name, losses in lost.items() if losses.overflowed},
    )


def _bar(total: int, *, progress: bool) -> tqdm[NoReturn]:
    return tqdm(total=total, desc="weights", unit="B", unit_scale=True, disable=not progress)


def _blocks(reader: TensorReader, weight: StoredWeight) -> Iterator[torch.Tensor]:
    """A weight in rows of the written layout; each block is valid until the next one."""
    name = weight.parameter
    rows, row_bytes = reader.shape(name)[0], reader.row_bytes(name)
    if weight.transposed:
        whole = reader.rows(name, 0, rows)
        step = max(_BLOCK_COLUMNS, _BLOCK_BYTES // (rows * whole.itemsize))
        for i in range(0, whole.shape[1], step):
            # In two steps: torch is fast at turning what is contiguous and of one type.
            yield whole[:, i : i + step].contiguous().t().contiguous()
    else:
        step = max(1, _BLOCK_BYTES // row_bytes)
        for i in range(0, rows, step):
            yield reader.rows(name, i, min(i + step, rows))


def _point(value: ir.Value, file: Path, offset: int, length: int) -> None:
    """Makes an initializer stand for bytes of the file."""
    if value.dtype is None or not isinstance(value.shape, ir.Shape):
        raise ValueError(f"initializer {value.name} has no type or no shape")
    value.const_value = ir.ExternalTensor(
        file.name,
        offset,
        length,
        value.dtype,
        shape=value.shape,
        name=value.name or "",
        base_dir=file.parent,
    )
