"""Weights flow from the mapped checkpoint into the external data file, one tensor at a time.

Each initializer of the graph gets a lazy tensor; writing asks for its values, converts them, puts
them at the end of the file and forgets them. At most one tensor is in memory, in the checkpoint's
type and in the written one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import onnx_ir as ir
import torch
from onnx_ir.external_data import CallbackInfo, convert_tensors_to_external
from tqdm import tqdm

from dawn_export.assembly import StoredWeight
from dawn_export.errors import ExportError
from dawn_export.pieces import TORCH_DTYPES
from dawn_models import Checkpoint


@dataclass(frozen=True, slots=True)
class WrittenWeights:
    """What was written.

    Attributes:
        values: How many numbers.
        size_bytes: Their size in the file, which holds nothing else.
        vanished: Parameter -> how many of its numbers became zero in the written type; parameters
            that lost none are left out.
    """

    values: int
    size_bytes: int
    vanished: Mapping[str, int]


def write_weights(
    weights: Sequence[StoredWeight],
    checkpoint: Checkpoint,
    dtype: str,
    file: Path,
    *,
    progress: bool = False,
) -> WrittenWeights:
    """Writes every weight into `file` and points the graph's initializers at it.

    Args:
        weights: What to write, in this order, without padding between.
        checkpoint: Where the values come from.
        dtype: NumPy's name of the type to write.
        file: External data file, in the folder where the graph will lie.
        progress: Whether to show a progress bar on standard error.

    Raises:
        ExportError: A value is not finite, or becomes infinite in the written type.
        WeightsError: A shard cannot be read.
    """
    vanished: dict[str, int] = {}
    lazy = [_lazy(weight, checkpoint, TORCH_DTYPES[dtype], vanished) for weight in weights]
    size_bytes = sum(tensor.nbytes for tensor in lazy)
    with tqdm(
        total=size_bytes, desc="weights", unit="B", unit_scale=True, disable=not progress
    ) as bar:
        stored = convert_tensors_to_external(
            lazy, file.parent, file.name, callback=partial(_advance, bar)
        )
    for weight, tensor in zip(weights, stored, strict=True):
        weight.value.const_value = tensor
    return WrittenWeights(sum(tensor.size for tensor in lazy), size_bytes, vanished)


def _advance(bar: tqdm[NoReturn], tensor: ir.TensorProtocol, _: CallbackInfo) -> None:
    bar.set_postfix_str(tensor.name or "", refresh=False)
    bar.update(tensor.nbytes)


def _lazy(
    weight: StoredWeight, checkpoint: Checkpoint, dtype: torch.dtype, vanished: dict[str, int]
) -> ir.LazyTensor:
    value, name = weight.value, weight.parameter
    if value.dtype is None or not isinstance(value.shape, ir.Shape):
        raise ValueError(f"initializer {name} has no type or no shape")

    def read() -> ir.TensorProtocol:
        source = checkpoint.tensor(name)
        # Turning first: torch is fast at it within one type, and the small type moves less.
        turned = source.t().contiguous() if weight.transposed else source
        converted = turned.to(dtype)
        lost = _check_values(name, turned, converted)
        if lost:
            vanished[name] = lost
        return ir.Tensor(converted.numpy(), name=name)

    return ir.LazyTensor(read, dtype=value.dtype, shape=value.shape, name=name)


def _check_values(name: str, source: torch.Tensor, converted: torch.Tensor) -> int:
    """Counts numbers that became zero; refuses those that are not finite any more."""
    # One pass without a copy; NaN shows in both ends.
    lowest, highest = torch.aminmax(converted)
    if not (torch.isfinite(lowest) and torch.isfinite(highest)):
        raise ExportError(_not_finite(name, source, converted))
    if source.dtype == converted.dtype or converted.dtype == torch.float32:
        return 0
    return int(source.count_nonzero() - converted.count_nonzero())


def _not_finite(name: str, source: torch.Tensor, converted: torch.Tensor) -> str:
    bad = int((~torch.isfinite(source)).sum())
    if bad:
        return (
            f"weight {name}: {bad} of {source.numel()} values are NaN or infinite; "
            "the checkpoint is damaged, download it again"
        )
    overflow = int((~torch.isfinite(converted)).sum())
    return (
        f"weight {name}: {overflow} of {source.numel()} values are beyond the range of "
        f"{str(converted.dtype).removeprefix('torch.')}; export with --precision fp32"
    )
