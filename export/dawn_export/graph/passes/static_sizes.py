"""Sizes that the exporter gathers with `Shape` and glues together with `Concat`, as numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

SizesOf = Callable[[ir.Shape, ir.Shape], "list[int] | None"]
"""Shapes of what goes in and comes out -> sizes; None if numbers cannot say them."""


def with_static_sizes(graph: ir.Graph, operator: str, sizes_of: SizesOf) -> list[ir.Node]:
    """Replaces the computed second input of an operator's nodes wherever numbers say the same.

    Args:
        graph: A graph with the shapes that were found in tracing.
        operator: Its type.
        sizes_of: Says what the numbers are.

    Returns:
        The nodes that were changed.
    """
    changed = []
    for node in [node for node in graph if node.op_type == operator]:
        source = node.inputs[0].shape if node.inputs[0] is not None else None
        target = node.outputs[0].shape
        sizes = None if source is None or target is None else sizes_of(source, target)
        if sizes is None or node.inputs[1] in graph.initializers.values():
            continue
        name = f"{node.outputs[0].name}/sizes"
        value = ir.Value(name=name, const_value=ir.tensor(np.array(sizes, np.int64), name=name))
        graph.register_initializer(value)
        node.replace_input_with(1, value)
        changed.append(node)
    return changed
