"""Reshapes whose sizes are numbers, not computed in the graph.

The exporter gathers every dynamic size with `Shape` and glues the sizes together with `Concat`,
four little nodes a reshape. Almost always numbers say the same: `Reshape` copies an axis where the
size is 0 and works out one axis where it is -1.
"""

from __future__ import annotations

import re

import onnx_ir as ir

from dawn_export.graph.passes.static_sizes import with_static_sizes

_MAY_BE_EMPTY = re.compile(r"(\d+\*)?[PQRE]")
"""Sizes that are zero in some step: nothing is cached, predicted, or asked of what is predicted."""


def make_reshapes_static(graph: ir.Graph) -> int:
    """Replaces computed sizes of reshapes by numbers where the shapes found in tracing allow it.

    1. a fixed axis is its size;
    2. an axis of the same name at the same place is copied: 0;
    3. one other axis is -1, if no axis beside it can be empty (nothing divides by zero).

    Returns:
        How many reshapes were changed.
    """
    changed = with_static_sizes(graph, "Reshape", _static_sizes)
    for node in changed:
        node.attributes["allowzero"] = ir.AttrInt64("allowzero", 0)
    return len(changed)


def _static_sizes(source: ir.Shape, target: ir.Shape) -> list[int] | None:
    sizes = [_static_size(source, i, size) for i, size in enumerate(target)]
    inferred = sizes.count(-1)
    beside = [size for size, static in zip(target, sizes, strict=True) if static != -1]
    if inferred > 1 or (inferred and any(map(may_be_empty, beside))):
        return None
    return sizes


def may_be_empty(size: int | ir.SymbolicDim) -> bool:
    """Whether the axis of a trace has no element in some step."""
    return _MAY_BE_EMPTY.fullmatch(str(size)) is not None


def _static_size(source: ir.Shape, i: int, size: int | ir.SymbolicDim) -> int:
    if isinstance(size, int):
        return size
    known = size.value is not None and i < len(source)
    return 0 if known and source[i] == size else -1
