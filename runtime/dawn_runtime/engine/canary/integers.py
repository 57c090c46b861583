"""Products with integers, one case for each operator that multiplies or widens them.

What is rounded is chosen so that it is an integer after the division by its scale, whichever rows
share one: every row, and every block of 32, holds both ends of the range. So right answers are
exact. Integers are small enough for CPUs that add two products in 16 bits (x86 without VNNI).
"""

from typing import Final

import numpy as np

from dawn_runtime.engine.canary.case import MICROSOFT, Array, Case, GraphWriter, waves
from dawn_runtime.engine.canary.onnx_writer import INT4

_ROWS, _WIDTH, _OUT, _BLOCK = 3, 64, 24, 32
_BLOCKS: Final = _WIDTH // _BLOCK
_LIMIT: Final = 50
"""Largest magnitude of a weight of 8 bits: 2 * 255 * 50 fits 16 bits."""

_BIAS: Final = waves(_OUT, step=0.8, scale=5.0)
_COLUMN_SCALE: Final = (0.02 + waves(_OUT, step=1.9, scale=0.01)).astype(np.float32)
_BLOCK_SCALE: Final = (0.02 + waves(_OUT, _BLOCKS, step=1.9, scale=0.01)).astype(np.float32)
_WEIGHT: Final = np.round(waves(_WIDTH, _OUT, step=1.4, scale=_LIMIT)).astype(np.int8)
_NIBBLES: Final = np.round(waves(_WIDTH, _OUT, step=1.4, scale=7)).astype(np.int8)


def _whole(lowest: int, highest: int) -> Array:
    """Whole numbers [rows, width]; every block of 32 holds both ends of the range."""
    middle, reach = (highest + lowest) / 2, (highest - lowest) / 2
    numbers = np.round(middle + waves(_ROWS, _WIDTH, step=2.1, scale=reach))
    numbers[:, ::_BLOCK], numbers[:, 1::_BLOCK] = lowest, highest
    return numbers.astype(np.float32)


def _product(x: Array, weight: Array) -> Array:
    product: Array = x.astype(np.float64) @ weight.astype(np.float64)
    return product


def dynamic(activations: str) -> Case:
    """`DynamicQuantizeMatMul`: the range of x is found in the run."""
    graph, x = GraphWriter(activations), _whole(-55, 200)
    operands = [graph.constant(_WEIGHT), graph.constant(_COLUMN_SCALE), "", graph.constant(_BIAS)]
    name = "DynamicQuantizeMatMul"
    found = graph.node(name, graph.input("x", x), *operands, domain=MICROSOFT)
    graph.output(name, found, _product(x, _WEIGHT) * _COLUMN_SCALE + _BIAS)
    return graph.case(23, 11, rounded=True)


def rows(activations: str) -> Case:
    """`QuantizeLinear` by a known scale and `MatMulIntegerToFloat`, every row by its largest."""
    graph, largest = GraphWriter(activations), np.array([[0.5], [3.0], [90.0]], np.float32)
    x = (_whole(-127, 127) / 127 * largest).astype(np.float32)
    step, zero = graph.constant(np.array(1 / 127, np.float32)), graph.constant(np.array(128, "u1"))
    given, divisor = graph.input("x", x), graph.input("largest", largest)
    even = graph.node("Div", given, divisor)
    # Of this domain: ONNX Runtime 1.23 has no kernel for the one of opset 23.
    narrow = graph.node("QuantizeLinear", even, step, zero, domain=MICROSOFT)
    operands = [graph.constant(_WEIGHT), step, graph.constant(_COLUMN_SCALE), zero]
    found = graph.node("MatMulIntegerToFloat", narrow, *operands, domain=MICROSOFT)
    expected = _product(x, _WEIGHT) * _COLUMN_SCALE
    graph.output("MatMulIntegerToFloat", graph.node("Mul", found, divisor), expected)
    return graph.case(23, 11, rounded=True)


def own_rows(activations: str) -> Case:
    """`dawn.RowsProduct`: the same of our own, which rounds rows itself."""
    graph, largest = GraphWriter(activations), np.array([[0.5], [3.0], [90.0]], np.float32)
    x = (_whole(-127, 127) / 127 * largest).astype(np.float32)
    x[:, 0] = largest[:, 0]
    operands = [graph.constant(_WEIGHT), graph.constant(_COLUMN_SCALE)]
    found = graph.node("RowsProduct", graph.input("x", x), *operands, domain="dawn")
    graph.output("RowsProduct", found, _product(x, _WEIGHT) * _COLUMN_SCALE)
    return graph.case(23, 11, rounded=True)


def blocks(activations: str) -> Case:
    """`MatMulNBits` of 4 and of 8 bits, a scale for every block of 32."""
    graph, x = GraphWriter(activations), _whole(-127, 127)
    given = graph.input("x", x)
    bias = graph.constant(_BIAS)
    for bits, weight in ((4, _NIBBLES), (8, _WEIGHT)):
        stored = graph.constant(_packed(weight, bits))
        scale = graph.constant(_BLOCK_SCALE)
        sizes = {"K": _WIDTH, "N": _OUT, "bits": bits, "block_size": _BLOCK, "accuracy_level": 4}
        operands = [given, stored, scale, "", "", bias]
        found = graph.node("MatMulNBits", *operands, domain=MICROSOFT, **sizes)
        widened = weight * _BLOCK_SCALE.repeat(_BLOCK, axis=1).T
        graph.output(f"MatMulNBits of {bits} bits", found, _product(x, widened) + _BIAS)
    return graph.case(23, 11, rounded=True)


def gathered(activations: str) -> Case:
    """`GatherBlockQuantized`: rows of 8 bits around 128."""
    graph, ids = GraphWriter(activations), np.array([[3, 0, 23], [7, 7, 11]])
    stored, scale = graph.constant(_packed(_WEIGHT, 8).reshape(_OUT, _WIDTH)), _BLOCK_SCALE
    operands = [stored, graph.input("ids", ids), graph.constant(scale)]
    sizes = {"bits": 8, "block_size": _BLOCK, "gather_axis": 0, "quantize_axis": 1}
    found = graph.node("GatherBlockQuantized", *operands, domain=MICROSOFT, **sizes)
    widened = _WEIGHT.T * scale.repeat(_BLOCK, axis=1)
    graph.output("GatherBlockQuantized", found, widened[ids])
    return graph.case(23, 11)


def widened(activations: str) -> Case:
    """`QuantizeLinear`, `DequantizeLinear`: known ranges, columns of INT8, blocks of INT4."""
    graph, x = GraphWriter(activations), _whole(-127, 127) / 4
    step, zero = graph.constant(np.array(0.25, np.float32)), graph.constant(np.array(0, np.int8))
    narrow = graph.node("QuantizeLinear", graph.input("x", x), step, zero)
    wide = graph.node("DequantizeLinear", narrow, step, zero)
    columns = [graph.constant(_WEIGHT), graph.constant(_COLUMN_SCALE)]
    weight = graph.node("DequantizeLinear", *columns, axis=1)
    blocks = [graph.constant(_NIBBLES, INT4), graph.constant(_BLOCK_SCALE.T)]
    nibbles = graph.node("DequantizeLinear", *blocks, axis=0, block_size=_BLOCK)
    of_blocks = _NIBBLES * _BLOCK_SCALE.T.repeat(_BLOCK, axis=0)
    product = _product(x, _WEIGHT) * _COLUMN_SCALE
    graph.output("DequantizeLinear of INT8", weight, _WEIGHT * _COLUMN_SCALE)
    graph.output("DequantizeLinear of INT4", nibbles, of_blocks)
    graph.output("QuantizeLinear", graph.node("MatMul", wide, weight), product)
    return graph.case(21, 10, rounded=True)


def _packed(weight: Array, bits: int) -> Array:
    """Integers [in, out] as `MatMulNBits` stores them: [out, blocks, bytes], none negative."""
    turned: Array = (weight.T.astype(np.int16) + 2 ** (bits - 1)).astype(np.uint8)
    if bits == 4:
        turned = turned[:, ::2] | turned[:, 1::2] << 4
    return turned.reshape(_OUT, _BLOCKS, -1)
