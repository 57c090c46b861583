"""Rows of a wide array are copied whole.

Torch picks rows with an index for every number of them, which the exporter writes as
``GatherElements(x, Expand(Unsqueeze(rows)))``: 8 bytes for each of 151,936 logits of a row.
``GatherND`` takes one index a row and copies what lies there.
"""

from __future__ import annotations

import onnx_ir as ir


def copy_rows_whole(graph: ir.Graph, source: ir.Value) -> int:
    """Rewrites every ``GatherElements`` of rows [B, E] of a value [B, R, V].

    Args:
        graph: Where they are.
        source: The value.

    Returns:
        How many were rewritten.
    """
    changed = 0
    for node in list(source.consumers()):
        rows = _rows_of(node)
        if node.inputs[0] is not source or rows is None:
            continue
        whole = ir.node("GatherND", [source, rows], {"batch_dims": 1})
        old, new = node.outputs[0], whole.outputs[0]
        new.shape, new.type = old.shape, old.type
        graph.insert_before(node, whole)
        ir.convenience.replace_all_uses_with(old, new)
        graph.remove(node, safe=True)
        changed += 1
    return changed


def _rows_of(node: ir.Node) -> ir.Value | None:
    """The rows [B, E, 1] that a node picks, None if it does something else."""
    axis = node.attributes.get("axis")
    if node.op_type != "GatherElements" or axis is None or axis.as_int() != 1:
        return None
    index = node.inputs[1]
    spread = None if index is None else index.producer()
    return spread.inputs[0] if spread is not None and spread.op_type == "Expand" else None
