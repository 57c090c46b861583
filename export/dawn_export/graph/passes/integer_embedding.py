"""An embedding of integers: rows are gathered as they are stored, and only those are widened.

========  ======================================================================================
rows      Mul(Cast(Gather(w, ids)), Gather(scale, ids)), w int8 [V, hidden], scale [V, 1]
columns   the same from w [hidden, V], as a tied head multiplies it: gathered on axis 1, turned
blocks    com.microsoft.GatherBlockQuantized(w, ids, scale), w uint8 [V, bytes]
========  ======================================================================================

A tied head then reads the same bytes. Gathering columns touches one byte in every row of the
matrix, which takes 14 of 680 ms at 256 tokens of 896 channels (1.9 of 134 at 32); a copy for the
head would take a third of the file more.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from dawn_export.graph.passes.fuse_products import Layouts
from dawn_export.graph.passes.integer_products import MICROSOFT, add_scale, replace_weight
from dawn_export.quantization.integers import block_size
from dawn_export.quantization.schemes import Product
from dawn_export.weights.layout import Integers, sizes


def quantize_embedding(
    graph: ir.Graph, layouts: Layouts, embedding: ir.Value, product: Product, *, tied: bool
) -> None:
    """Rewrites ``Gather(embedding, ids)``.

    Args:
        graph: Where it is.
        layouts: How every weight is stored; changed for the embedding.
        embedding: [V, hidden], an input of the graph.
        product: How it is stored, `rows` or `blocks`.
        tied: Whether the head multiplies with the same bytes.
    """
    vocabulary, hidden = sizes(embedding)
    gather = embedding.consumers()[0]
    block = block_size(str(embedding.name), hidden, product.block)
    if product.arithmetic == "blocks":
        integers = Integers(product.bits, block, 2 ** (product.bits - 1))
        shape = [vocabulary, hidden * product.bits // 8]
        stored = replace_weight(graph, layouts, embedding, integers, shape, transposed=False)
        scale = add_scale(graph, embedding, [vocabulary, hidden // block])
        attributes = {
            "bits": product.bits,
            "block_size": block,
            "gather_axis": 0,
            "quantize_axis": 1,
        }
        nodes = [
            ir.node(
                "GatherBlockQuantized",
                [stored, gather.inputs[1], scale],
                attributes,
                domain=MICROSOFT,
            )
        ]
    else:
        shape = [hidden, vocabulary] if tied else [vocabulary, hidden]
        integers = Integers(product.bits, block)
        stored = replace_weight(graph, layouts, embedding, integers, shape, transposed=tied)
        scale = add_scale(graph, embedding, [vocabulary])
        nodes = _gathered(graph, gather, stored, scale, tied=tied)
    graph.insert_before(gather, nodes)
    output, old = nodes[-1].outputs[0], gather.outputs[0]
    output.shape, output.type = old.shape, old.type
    ir.convenience.replace_all_uses_with(old, output, replace_graph_outputs=True)
    graph.remove(gather, safe=True)


def _gathered(
    graph: ir.Graph, gather: ir.Node, stored: ir.Value, scale: ir.Value, *, tied: bool
) -> list[ir.Node]:
    """Rows of integers and their scales, multiplied."""
    ids = gather.inputs[1]
    name = "embedding/last_axis"
    last = ir.Value(name=name, const_value=ir.tensor(np.array([-1], np.int64), name=name))
    graph.register_initializer(last)
    rows = ir.node("Gather", [stored, ids], {"axis": 1 if tied else 0})
    turned = [ir.node("Transpose", [rows.outputs[0]], {"perm": [1, 2, 0]})] if tied else []
    kind = ir.DataType(scale.dtype or ir.DataType.FLOAT)
    wide = ir.node("Cast", [(turned or [rows])[-1].outputs[0]], {"to": kind.value})
    steps = ir.node("Gather", [scale, ids], {"axis": 0})
    column = ir.node("Unsqueeze", [steps.outputs[0], last])
    product = ir.node("Mul", [wide.outputs[0], column.outputs[0]])
    return [rows, *turned, wide, steps, column, product]
