"""Weights are stored the way products read them.

A linear layer of torch holds [out, in] and the exporter writes ``MatMul(x, Transpose(weight))``.
Engines would transpose at every load and keep both copies while they do, so the file holds
[in, out] and the graph ``MatMul(x, weight)``.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir


def store_transposed(graph: ir.Graph, weights: Iterable[ir.Value]) -> frozenset[str]:
    """Turns weights round that are only ever used transposed, and drops the transposes.

    Args:
        graph: Where they are used.
        weights: Inputs of the graph; those with two axes are looked at.

    Returns:
        The names of those that must be stored as the transpose of what was traced.
    """
    turned = set()
    for weight in weights:
        uses = weight.consumers()
        if weight.name is None or weight.shape is None or not uses:
            continue
        if all(_turns_a_matrix(node) for node in uses):
            turned.add(weight.name)
            weight.shape = ir.Shape(reversed(weight.shape))
            for node in uses:
                node.outputs[0].replace_all_uses_with(weight)
                graph.remove(node, safe=True)
    return frozenset(turned)


def _turns_a_matrix(node: ir.Node) -> bool:
    return node.op_type == "Transpose" and list(node.attributes["perm"].as_ints()) == [1, 0]
