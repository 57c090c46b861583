"""Reshapes whose sizes are numbers, not computed in the graph.

The exporter gathers every dynamic size with `Shape` and glues the sizes together with `Concat`,
four little nodes a reshape. Almost always numbers say the same: `Reshape` copies an axis where the
size is 0 and works out one axis where it is -1.
"""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir

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
    changed = 0
    for node in list(graph):
        sizes = _static_sizes(node) if node.op_type == "Reshape" else None
        if sizes is None or node.inputs[1] in graph.initializers.values():
            continue
        node.replace_input_with(1, _constant(graph, f"{node.outputs[0].name}/sizes", sizes))
        node.attributes["allowzero"] = ir.AttrInt64("allowzero", 0)
        changed += 1
    return changed


def _static_sizes(node: ir.Node) -> list[int] | None:
    source = node.inputs[0].shape if node.inputs[0] is not None else None
    target = node.outputs[0].shape
    if source is None or target is None:
        return None
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


def _constant(graph: ir.Graph, name: str, sizes: list[int]) -> ir.Value:
    value = ir.Value(name=name, const_value=ir.tensor(np.array(sizes, dtype=np.int64), name=name))
    graph.register_initializer(value)
    return value
