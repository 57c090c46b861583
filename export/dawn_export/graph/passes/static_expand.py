"""Expansions whose sizes are numbers, not computed in the graph.

The exporter gathers every size with `Shape` and glues them together with `Concat`. `Expand` leaves
an axis as it is where the size is 1, so only the axes that grow have to be told, and those are
fixed.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


def make_expands_static(graph: ir.Graph) -> int:
    """Replaces computed sizes of expansions by numbers where the shapes found in tracing allow it.

    Returns:
        How many expansions were changed.
    """
    changed = 0
    for node in [node for node in graph if node.op_type == "Expand"]:
        sizes = _static_sizes(node)
        if sizes is None or node.inputs[1] in graph.initializers.values():
            continue
        name = f"{node.outputs[0].name}/sizes"
        value = ir.Value(name=name, const_value=ir.tensor(np.array(sizes, np.int64), name=name))
        graph.register_initializer(value)
        node.replace_input_with(1, value)
        changed += 1
    return changed


def _static_sizes(node: ir.Node) -> list[int] | None:
    source = node.inputs[0].shape if node.inputs[0] is not None else None
    target = node.outputs[0].shape
    if source is None or target is None:
        return None
    # Axes are counted from the last one, as in broadcasting.
    there = [1] * (len(target) - len(source)) + list(source)
    sizes = [1 if wanted == own else wanted for wanted, own in zip(target, there, strict=True)]
    numbers = [size for size in sizes if isinstance(size, int)]
    return numbers if len(numbers) == len(sizes) else None
