"""What was written, read back: the bytes of a weight found by the offsets that the graph names.

Nothing here goes through what wrote the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch

from dawn_export.quantization.integers import dequantize, unpack_nibbles
from dawn_export.weights.layout import Integers, StoredWeight
from dawn_models import ModelConfig, parameter_shapes


def written_bytes(
    folder: Path, initializers: Mapping[str, ir.Value], value: ir.Value, dtype: torch.dtype
) -> torch.Tensor:
    """What the graph says about an initializer, as a flat view of the file that nobody writes to.

    Args:
        folder: Where the graph and its weights lie.
        initializers: Those of the graph as it was loaded.
        value: The initializer, of any graph that names it alike.
        dtype: Type of the view.

    Raises:
        TypeError: It is no tensor of an external data file.
    """
    tensor = initializers[str(value.name)].const_value
    if not isinstance(tensor, ir.ExternalTensor) or tensor.length is None:
        raise TypeError(f"{tensor} is no tensor of an external data file")
    path = folder / tensor.location
    content = np.memmap(path, np.uint8, "c", offset=tensor.offset or 0, shape=(tensor.length,))
    return torch.from_numpy(content).view(dtype)


def signed_integers(stored: torch.Tensor, integers: Integers) -> torch.Tensor:
    """The int8 [.., n] that bytes [.., n], or [.., n / 2] at 4 bits, stand for."""
    if integers.bits == 4:
        return unpack_nibbles(stored, signed=not integers.offset) - integers.offset
    return (stored ^ integers.offset).view(torch.int8)


def read_parameters(
    graph: Path, weights: Sequence[StoredWeight], config: ModelConfig, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """What a graph computes with, by parameter of our transformer: float32, [out, in].

    Args:
        graph: The graph; its weights lie beside it.
        weights: How each of them is stored; those of layers that the graph lacks are passed over.
        config: Geometry of the graph.
        dtype: Type of scales and of what is not stored as integers.
    """
    initializers = ir.load(graph).graph.initializers
    shapes = parameter_shapes(config)
    found: dict[str, torch.Tensor] = {}
    for weight in weights:
        own = [shapes[name] for name in weight.layout.members if name in shapes]
        if own:
            values = _values(graph.parent, initializers, weight, dtype, own)
            parts = torch.split(values, [shape[0] for shape in own])
            found.update(zip(weight.layout.members, parts, strict=True))
    return found


def _values(
    folder: Path,
    initializers: Mapping[str, ir.Value],
    weight: StoredWeight,
    dtype: torch.dtype,
    members: Sequence[tuple[int, ...]],
) -> torch.Tensor:
    """A weight in float32, its members one below the other."""
    out, turned = sum(shape[0] for shape in members), weight.layout.transposed
    integers = weight.layout.integers
    kind = dtype if integers is None else torch.uint8
    stored = written_bytes(folder, initializers, weight.values[0], kind)
    if integers is not None:
        stored = signed_integers(stored, integers)
    values = stored.view(-1, out).t() if turned else stored.view(out, *members[0][1:])
    if integers is None:
        return values.float()
    scale = written_bytes(folder, initializers, weight.scales[0], dtype)
    return dequantize(values, scale.view(-1, out).t() if turned else scale.view(out, -1))
