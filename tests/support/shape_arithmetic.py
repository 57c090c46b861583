"""What a graph computes of shapes, which GPU engines do on the host, between their kernels."""

from __future__ import annotations

import onnx

_OF_SHAPES = ("Shape", "Size", "NonZero", "Range", "ConstantOfShape")
_SIZED = {"Expand": (1,), "Reshape": (1,), "Slice": (1, 2, 3, 4), "Tile": (1,), "TopK": (1,)}
"""Operator -> inputs that are sizes."""


def shape_arithmetic(graph: onnx.GraphProto) -> list[str]:
    """Operators that read shapes or work with what they give, and those with computed sizes.

    A list of the operators, in the order of the nodes.
    """
    constants = {tensor.name for tensor in graph.initializer}
    computed: set[str] = set()
    found = []
    for node in graph.node:
        given = [name for name in node.input if name and name not in constants]
        reads = node.op_type in _OF_SHAPES or (given != [] and set(given) <= computed)
        places = _SIZED.get(node.op_type, ())
        sizes = {name for place in places for name in node.input[place : place + 1] if name}
        if reads:
            computed.update(node.output)
        if reads or sizes - constants:
            found.append(node.op_type)
    return found


TIED_HEAD = ["Shape", "Concat", "Reshape"]
"""What a head that is the embedding, in numbers that are not rounded, does with ONNX Runtime:
`Gemm` reads the embedding as it is stored and knows two axes, so B and R have to come back. A
product that keeps them would make it transpose the largest tensor of a model at every load."""
