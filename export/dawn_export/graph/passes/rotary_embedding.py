"""Rotating both halves of every head is one operator in the `fused` dialect.

    low, high = Split(x)
    Concat(low * cos - high * sin, high * cos + low * sin)   ->   RotaryEmbedding(x, cos, sin)

Eight small operators for queries and for keys of every layer: with 32 rows to feed, starting them
takes longer than what they compute. `RotaryEmbedding` came with opset 23.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


def use_rotary_embedding(graph: ir.Graph) -> int:
    """Rewrites every rotation of x [B, H, S, D] with cos and sin [B, 1, S, D / 2].

    Returns:
        How many were rewritten.
    """
    splits = [node for node in graph if node.op_type == "Split" and len(node.outputs) == 2]
    rotations = [found for found in map(_rotation, splits) if found is not None]
    for split, ends, cos, sin in rotations:
        caches = [_without_heads(graph, split, angle) for angle in (cos, sin)]
        rotated = ir.node("RotaryEmbedding", [split.inputs[0], *caches], {"interleaved": 0})
        output, old = rotated.outputs[0], ends.outputs[0]
        output.shape, output.type = old.shape, old.type
        graph.insert_before(split, rotated)
        ir.convenience.replace_all_uses_with(old, output, replace_graph_outputs=True)
        graph.remove(_between(split, ends), safe=True)
    return len(rotations)


def _rotation(split: ir.Node) -> tuple[ir.Node, ir.Node, ir.Value, ir.Value] | None:
    """The split, the node that joins the halves again, cosine and sine; None if it is another."""
    low, high = split.outputs
    for product in low.consumers():
        difference = _only_user(product, "Sub")
        joined = None if difference is None else _only_user(difference, "Concat")
        if difference is None or joined is None or difference.inputs[0] is not product.outputs[0]:
            continue
        other = difference.inputs[1]
        second = None if other is None else other.producer()
        if second is not None and high in second.inputs:
            cos, sin = _factor(product, low), _factor(second, high)
            return (split, joined, cos, sin) if cos is not None and sin is not None else None
    return None


def _only_user(node: ir.Node, operator: str) -> ir.Node | None:
    users = node.outputs[0].consumers()
    return users[0] if len(users) == 1 and users[0].op_type == operator else None


def _factor(product: ir.Node, half: ir.Value) -> ir.Value | None:
    """What a half is multiplied with."""
    return next((value for value in product.inputs if value is not half), None)


def _without_heads(graph: ir.Graph, before: ir.Node, angle: ir.Value) -> ir.Value:
    """[B, 1, S, D / 2] -> [B, S, D / 2]; what is alike in all layers is merged later."""
    name = "rotation/heads"
    if name not in graph.initializers:
        axes = ir.tensor(np.array([1], np.int64), name=name)
        graph.register_initializer(ir.Value(name=name, const_value=axes))
    squeezed = ir.node("Squeeze", [angle, graph.initializers[name]])
    graph.insert_before(before, squeezed)
    return squeezed.outputs[0]


def _between(split: ir.Node, joined: ir.Node) -> list[ir.Node]:
    """The join, the sums, the products and the split: users first."""
    sums = [value.producer() for value in joined.inputs if value is not None]
    products = [user for half in split.outputs for user in half.consumers()]
    return [joined, *(node for node in sums if node is not None), *products, split]
