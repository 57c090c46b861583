"""Reductions of no rows have the shape that they should have.

ONNX Runtime (1.23 to 1.31, CPU) gives back ``[B, 0, V]`` when the last axis of ``[B, 0, V]`` is
reduced, whatever `keepdims` says, and what follows fails. Here the axis is kept, cut to its first
element, which is all there is where there are rows, and dropped by `Squeeze`.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

_REDUCTIONS = ("ArgMax", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum")


def cut_reductions(graph: ir.Graph) -> int:
    """Cuts the last axis of what reduces it to one element.

    Returns:
        How many reductions were changed.
    """
    reductions = [node for node in graph if node.op_type in _REDUCTIONS and _of_last_axis(node)]
    for node in reductions:
        kept = node.attributes["keepdims"].as_int() if "keepdims" in node.attributes else 1
        node.attributes["keepdims"] = ir.AttrInt64("keepdims", 1)
        users = [(use.node, use.idx) for use in node.outputs[0].uses()]
        zero, one, last = (_constant(graph, f"cut/{number}", number) for number in (0, 1, -1))
        nodes = [ir.node("Slice", [node.outputs[0], zero, one, last])]
        if not kept:
            nodes.append(ir.node("Squeeze", [nodes[0].outputs[0], last]))
        graph.insert_after(node, nodes)
        old, new = node.outputs[0], nodes[-1].outputs[0]
        new.type, new.shape = old.type, old.shape
        old.shape = None
        for user, place in users:
            user.replace_input_with(place, new)
        for place, output in enumerate(graph.outputs):
            if output is old:
                graph.outputs[place] = new
    return len(reductions)


def _of_last_axis(node: ir.Node) -> bool:
    """Whether a node reduces the last axis and no other."""
    source = node.inputs[0]
    if source is None or source.shape is None:
        return False
    axes: list[int] = []
    if "axis" in node.attributes:
        axes = [node.attributes["axis"].as_int()]
    elif len(node.inputs) > 1 and node.inputs[1] is not None:
        value = node.inputs[1].const_value
        axes = [] if value is None else value.numpy().ravel().tolist()
    return axes in ([-1], [len(source.shape) - 1])


def _constant(graph: ir.Graph, name: str, number: int) -> ir.Value:
    if name not in graph.initializers:
        tensor = ir.tensor(np.array([number], np.int64), name=name)
        graph.register_initializer(ir.Value(name=name, const_value=tensor))
    return graph.initializers[name]
