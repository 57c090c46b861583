"""``MatMul(x, w)`` with integers in place of w, one way for each arithmetic of a scheme.

=========  =====================================================================================
rows       r = Max(ReduceMax(x), -ReduceMin(x), tiny) of every row; q = Q(Div(x, r), 1/127, 128);
           Mul(com.microsoft.MatMulIntegerToFloat(q, w, 1/127, scale, 128), r), w int8 [in, out]
static     MatMul(DQ(Q(x, s), s), DQ(w, scale, axis 1)), w int8 [in, out], s a scalar
weights    MatMul(x, DQ(w, scale, axis 1)), w int8 [in, out]; in blocks: DQ over blocks of axis 0
blocks     com.microsoft.MatMulNBits(x, w, scale [, bias]), w uint8 [out, blocks, bytes]
=========  =====================================================================================

What a row of `rows` becomes depends on that row alone, to the last bit: its range is its own, the
rounding has a constant scale and sums of integers have no order. Products that read the same rows
share r and q once equal nodes of the graph are merged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from dawn_export.graph.passes.fuse_products import Layouts
from dawn_export.quantization.integers import block_size
from dawn_export.quantization.schemes import Product
from dawn_export.weights.layout import INPUT_SCALE, SCALE, Integers, Layout, sizes

MICROSOFT = "com.microsoft"
_TINY = np.array(1e-30, np.float32)
"""What a row of zeros is divided by."""

_STEP = np.array(1 / 127, np.float32)
"""Of a row divided by its largest magnitude: -1 to 1 become -127 to 127 around `_ZERO`."""

_ZERO = np.array(128, np.uint8)
"""Signed integers on the left side have no fast kernel in ONNX Runtime."""

_INT8_PRODUCTS = 4
"""`accuracy_level` of `MatMulNBits`: rows are rounded to INT8, block by block, on the CPU."""


def quantize_products(
    graph: ir.Graph, layouts: Layouts, product_of: Callable[[str], Product]
) -> None:
    """Rewrites every product with a stored weight [in, out].

    Args:
        graph: Where they are; weights are inputs.
        layouts: How every weight is stored; changed for those that become integers.
        product_of: Name of a weight -> how it is multiplied.
    """
    for weight in list(graph.inputs):
        name = str(weight.name)
        layout = layouts.get(name)
        if layout is None or not layout.transposed or product_of(name).plain:
            continue
        for node in list(weight.consumers()):
            _rewrite(graph, layouts, node, weight, product_of(name))


def _rewrite(
    graph: ir.Graph, layouts: Layouts, node: ir.Node, weight: ir.Value, product: Product
) -> None:
    width, out = sizes(weight)
    name = str(weight.name)
    block = block_size(name, width, product.block)
    if product.arithmetic == "blocks":
        _in_blocks(
            graph, layouts, node, weight, Integers(product.bits, block, 2 ** (product.bits - 1))
        )
        return
    integers = Integers(product.bits, block)
    whole = block == width and product.block is None
    stored = replace_weight(graph, layouts, weight, integers, [width, out], transposed=True)
    scale = add_scale(graph, weight, [out] if whole else [width // block, out])
    if product.arithmetic == "rows":
        _row_by_row(graph, node, stored, scale)
        return
    if product.arithmetic == "static":
        node.replace_input_with(0, _rounded(graph, node, name))
    blocks = {"axis": 1} if whole else {"axis": 0, "block_size": block}
    widened = ir.node("DequantizeLinear", [stored, scale], blocks)
    graph.insert_before(node, widened)
    node.replace_input_with(1, widened.outputs[0])


def _in_blocks(
    graph: ir.Graph, layouts: Layouts, node: ir.Node, weight: ir.Value, integers: Integers
) -> None:
    width, out = sizes(weight)
    blocks = width // integers.block
    shape = [out, blocks, integers.block * integers.bits // 8]
    stored = replace_weight(graph, layouts, weight, integers, shape, transposed=False)
    scale = add_scale(graph, weight, [out, blocks])
    attributes = {
        "K": width,
        "N": out,
        "bits": integers.bits,
        "block_size": integers.block,
        "accuracy_level": _INT8_PRODUCTS,
    }
    _replace(graph, node, "MatMulNBits", [stored, scale, None, None], attributes)


def _replace(
    graph: ir.Graph,
    node: ir.Node,
    operator: str,
    operands: list[ir.Value | None],
    attributes: Mapping[str, int],
) -> None:
    """Puts an operator with a bias in place of a product, and of the sum behind it if there is."""
    ends = [use for use in node.outputs[0].consumers() if _adds_a_weight(graph, use)]
    end = ends[0] if ends else node
    if ends:
        operands = [*operands, end.inputs[1]]
    fused = ir.node(operator, [node.inputs[0], *operands], attributes, domain=MICROSOFT)
    output = fused.outputs[0]
    output.shape, output.type = end.outputs[0].shape, end.outputs[0].type
    graph.insert_before(end, fused)
    ir.convenience.replace_all_uses_with(end.outputs[0], output, replace_graph_outputs=True)
    graph.remove([*ends, node], safe=True)


def _row_by_row(graph: ir.Graph, node: ir.Node, stored: ir.Value, scale: ir.Value) -> None:
    """Every row is rounded by a range of its own; a sum behind the product stays where it is."""
    old = node.outputs[0]
    step, zero = _constant(graph, "rows/step", _STEP), _constant(graph, "rows/zero", _ZERO)
    nodes = _divided(graph, node)
    divided, largest = nodes[-1].outputs[0], nodes[-1].inputs[1]
    # Of Microsoft: ONNX Runtime 1.23, the newest for Python 3.10, has no kernel for that of
    # ONNX from opset 23 on.
    rounded = ir.node("QuantizeLinear", [divided, step, zero], domain=MICROSOFT)
    operands = [rounded.outputs[0], stored, step, scale, zero]
    product = ir.node("MatMulIntegerToFloat", operands, domain=MICROSOFT)
    result = ir.node("Mul", [product.outputs[0], largest])
    graph.insert_before(node, [*nodes, rounded, product, result])
    result.outputs[0].shape, result.outputs[0].type = old.shape, old.type
    ir.convenience.replace_all_uses_with(old, result.outputs[0], replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _divided(graph: ir.Graph, node: ir.Node) -> list[ir.Node]:
    """What divides each row that a product reads by its largest magnitude; the division last."""
    x = node.inputs[0]
    last, tiny = _constant(graph, "rows/last", np.array([-1])), _constant(graph, "rows/tiny", _TINY)
    highest = ir.node("ReduceMax", [x, last], {"keepdims": 1})
    lowest = ir.node("ReduceMin", [x, last], {"keepdims": 1})
    opposite = ir.node("Neg", [lowest.outputs[0]])
    largest = ir.node("Max", [highest.outputs[0], opposite.outputs[0], tiny])
    return [highest, lowest, opposite, largest, ir.node("Div", [x, largest.outputs[0]])]


def _constant(graph: ir.Graph, name: str, array: NDArray[Any]) -> ir.Value:
    """A small constant of the trace, made once."""
    if name not in graph.initializers:
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        graph.register_initializer(value)
    return graph.initializers[name]


def _adds_a_weight(graph: ir.Graph, node: ir.Node) -> bool:
    return node.op_type == "Add" and node.inputs[1] in list(graph.inputs)


def _rounded(graph: ir.Graph, node: ir.Node, weight: str) -> ir.Value:
    """What a product reads, rounded to INT8 by a scale that is known before."""
    x = node.inputs[0]
    if x is None:
        raise ValueError(f"the product with {weight} reads nothing")
    scale = ir.Value(
        name=weight.removesuffix(".weight") + INPUT_SCALE, type=x.type, shape=ir.Shape([])
    )
    graph.inputs.append(scale)
    zero = _constant(graph, "zero", np.zeros((), np.int8))
    narrow = ir.node("QuantizeLinear", [x, scale, zero])
    wide = ir.node("DequantizeLinear", [narrow.outputs[0], scale, zero])
    graph.insert_before(node, [narrow, wide])
    return wide.outputs[0]


def replace_weight(
    graph: ir.Graph,
    layouts: Layouts,
    weight: ir.Value,
    integers: Integers,
    shape: list[int],
    *,
    transposed: bool,
) -> ir.Value:
    """Puts integers in place of an input of a trace; its readers are not changed."""
    signed = {4: ir.DataType.INT4, 8: ir.DataType.INT8}[integers.bits]
    kind = ir.DataType.UINT8 if integers.offset else signed
    name = str(weight.name)
    stored = ir.Value(name=name, type=ir.TensorType(kind), shape=ir.Shape(shape))
    graph.inputs[graph.inputs.index(weight)] = stored
    layouts[name] = Layout(layouts[name].members, transposed, integers)
    return stored


def add_scale(graph: ir.Graph, weight: ir.Value, shape: list[int]) -> ir.Value:
    """Adds the scales of a weight to the inputs of a trace, in the type of the activations."""
    scale = ir.Value(name=f"{weight.name}{SCALE}", type=weight.type, shape=ir.Shape(shape))
    graph.inputs.append(scale)
    return scale
