"""Rows are copied whole.

Torch picks rows with an index for every number of them, which the exporter writes as
``GatherElements(x, Expand(Unsqueeze(rows)))``: 8 bytes for each of 151,936 logits of a row, and
sizes of the index that are computed in the graph. ``GatherND`` takes one index a row and copies
what lies there.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from dawn_export.graph.passes.static_reshape import may_be_empty


def copy_rows_whole(graph: ir.Graph) -> int:
    """Rewrites every ``GatherElements`` that picks rows, on the axis before the last.

    ==============  ================================  ===========================================
    [B, S, W]       rows [B, Q]                       ``GatherND(x, rows [B, Q, 1])``
    [B, H, S, D]    rows [B, Q], alike in all heads   ``GatherND(x, Expand(rows, [1, H, 1, 1]))``
    ==============  ================================  ===========================================

    Axes before the rows are batches of `GatherND`. Where one of them may be empty the node is left
    as it is: dividing by their number is left to none of the engines.

    Returns:
        How many were rewritten.
    """
    changed = 0
    for node in [node for node in graph if node.op_type == "GatherElements"]:
        rows = _rows_of(node)
        repeats = None if rows is None else _repeats(node, rows)
        if rows is None or repeats is None:
            continue
        nodes = [] if set(repeats) == {1} else [_expanded(graph, rows, repeats)]
        index = nodes[0].outputs[0] if nodes else rows
        nodes.append(ir.node("GatherND", [node.inputs[0], index], {"batch_dims": len(repeats) - 2}))
        old, new = node.outputs[0], nodes[-1].outputs[0]
        new.shape, new.type = old.shape, old.type
        graph.insert_before(node, nodes)
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        graph.remove(node, safe=True)
        changed += 1
    return changed


def _rows_of(node: ir.Node) -> ir.Value | None:
    """The rows [.., Q, 1] that a node picks whole, None if it does something else."""
    source, index = node.inputs
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    spread = None if index is None else index.producer()
    rows = spread.inputs[0] if spread is not None and spread.op_type == "Expand" else None
    if source is None or source.shape is None or rows is None or rows.shape is None:
        return None
    rank = len(source.shape)
    whole = len(rows.shape) == rank and rows.shape[-1] == 1
    return rows if whole and axis in (-2, rank - 2) else None


def _repeats(node: ir.Node, rows: ir.Value) -> list[int] | None:
    """How often rows are repeated on each axis; None if the batches are not to be had."""
    source = node.inputs[0]
    if source is None or source.shape is None or rows.shape is None:
        return None
    repeats = []
    for wanted, there in zip(source.shape[:-2], rows.shape[:-2], strict=True):
        if wanted == there and not may_be_empty(wanted):
            repeats.append(1)
        elif there == 1 and isinstance(wanted, int):
            repeats.append(wanted)
        else:
            return None
    return [*repeats, 1, 1]


def _expanded(graph: ir.Graph, rows: ir.Value, repeats: list[int]) -> ir.Node:
    name = f"{rows.name}/repeats"
    sizes = ir.Value(name=name, const_value=ir.tensor(np.array(repeats, np.int64), name=name))
    graph.register_initializer(sizes)
    return ir.node("Expand", [rows, sizes])
