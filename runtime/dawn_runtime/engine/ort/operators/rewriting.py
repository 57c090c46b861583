"""Puts `dawn.RowsProduct` into the bytes of a graph that ONNX Runtime's operators make up.

    r = Max(ReduceMax(x), Neg(ReduceMin(x)), 1e-30)
    q = QuantizeLinear(Div(x, r), 1/127, 128)
    y = Mul(MatMulIntegerToFloat(q, w, 1/127, scale, 128), r)      ->  y = RowsProduct(x, w, scale)

The pattern is what `dawn-export --precision int8` writes for the CPU. It is looked for with its
constants; whatever differs stays as it is. What nothing reads any more is left out.
"""

import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dawn_runtime.engine.canary.onnx_writer import field

DOMAIN: Final = "dawn"
OPERATOR: Final = "RowsProduct"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH, _OPSET_IMPORT = 7, 8  # of ModelProto
_NODE, _INITIALIZER, _OUTPUT = 1, 5, 12  # of GraphProto
_STEP: Final = struct.pack("<f", 1 / 127)
_TINY: Final = struct.pack("<f", 1e-30)
_ZERO: Final = bytes([128])
_INTEGERS: Final = {number: struct.pack("<q", number) for number in (-1, 0, 1)}
_WITH_GRAPHS: Final = frozenset(("If", "Loop", "Scan"))


@dataclass(frozen=True, slots=True)
class _Node:
    """A NodeProto: names of values, name, operator, domain."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    name: str
    operator: str
    domain: str
    message: bytes


def with_rows_products(model: bytes) -> bytes | None:
    """Returns a model with the operator wherever it fits; None if it fits nowhere.

    Args:
        model: A ModelProto; weights may lie outside.

    Raises:
        ValueError: It is not one.
    """
    fields = list(_fields(model))
    graph = next((value for number, value, _ in fields if number == _GRAPH), None)
    if graph is None:
        raise ValueError("a model without a graph")
    rewritten = _rewritten_graph(graph)
    if rewritten is None:
        return None
    kept = (raw for number, _, raw in fields if number != _GRAPH)
    opset = field(_OPSET_IMPORT, field(1, DOMAIN.encode()) + field(2, 1))
    return b"".join(kept) + opset + field(_GRAPH, rewritten)


def _rewritten_graph(graph: bytes) -> bytes | None:
    parts = list(_fields(graph))
    nodes = [_node(value) for number, value, _ in parts if number == _NODE]
    if any(node.operator in _WITH_GRAPHS for node in nodes):
        return None  # graphs inside could read what seems unread
    constants = dict(_constant(value) for number, value, _ in parts if number == _INITIALIZER)
    outputs = {_texts(value, 1)[0] for number, value, _ in parts if number == _OUTPUT}
    found = _products(nodes, constants, outputs)
    if not found:
        return None
    kept = _read([found.get(node.outputs[0], node) for node in nodes], outputs)
    read = {name for node in kept for name in node.inputs} | outputs
    others = (
        raw
        for number, value, raw in parts
        if number not in (_NODE, _INITIALIZER)
        or (number == _INITIALIZER and _constant(value)[0] in read)
    )
    return b"".join(field(_NODE, node.message) for node in kept) + b"".join(others)


def _products(
    nodes: Sequence[_Node], constants: Mapping[str, bytes], outputs: set[str]
) -> dict[str, _Node]:
    """Value that a pattern ends in -> the operator that computes it."""
    makers = {name: node for node in nodes for name in node.outputs}
    readers = Counter(name for node in nodes for name in node.inputs)
    found: dict[str, _Node] = {}
    for end in nodes:
        if end.operator != "Mul" or len(end.inputs) != 2:
            continue
        product, largest = makers.get(end.inputs[0]), end.inputs[1]
        if product is None or product.operator != "MatMulIntegerToFloat":
            continue
        alone = readers[end.inputs[0]] == 1 and end.inputs[0] not in outputs
        source = _rounded_from(product, largest, makers, constants)
        stored = len(product.inputs) == 5 and product.inputs[1] in constants
        if alone and stored and source is not None and product.inputs[3] in constants:
            operands = (source, product.inputs[1], product.inputs[3])
            found[end.outputs[0]] = _operator(operands, end.outputs[0], product.name)
    return found


def _rounded_from(
    product: _Node, largest: str, makers: Mapping[str, _Node], constants: Mapping[str, bytes]
) -> str | None:
    """The value that a product reads rounded row by row; None if it is rounded otherwise."""
    narrow = makers.get(product.inputs[0])
    if narrow is None or narrow.operator != "QuantizeLinear" or len(narrow.inputs) != 3:
        return None
    # Both name the step and the zero, and must mean the same.
    for at, value in ((1, _STEP), (2, _ZERO)):
        if constants.get(narrow.inputs[at]) != value:
            return None
    if [constants.get(product.inputs[at]) for at in (2, 4)] != [_STEP, _ZERO]:
        return None
    even = makers.get(narrow.inputs[0])
    if even is None or even.operator != "Div" or even.inputs[1] != largest:
        return None
    source = even.inputs[0]
    return source if _is_largest(largest, source, makers, constants) else None


def _is_largest(
    value: str, source: str, makers: Mapping[str, _Node], constants: Mapping[str, bytes]
) -> bool:
    """Whether a value is the largest magnitude of each row of another, and never zero."""
    top = makers.get(value)
    if top is None or top.operator != "Max" or len(top.inputs) != 3:
        return False
    opposite = makers.get(top.inputs[1])
    negated = opposite is not None and opposite.operator == "Neg"
    high = _uncut(top.inputs[0], makers, constants)
    low = _uncut(opposite.inputs[0], makers, constants) if opposite and negated else None
    reductions = [(high, "ReduceMax"), (low, "ReduceMin")]
    return constants.get(top.inputs[2]) == _TINY and all(
        node is not None
        and node.operator == operator
        and len(node.inputs) == 2
        and node.inputs[0] == source
        and constants.get(node.inputs[1]) == _INTEGERS[-1]
        for node, operator in reductions
    )


def _uncut(value: str, makers: Mapping[str, _Node], constants: Mapping[str, bytes]) -> _Node | None:
    """What makes a value; a `Slice` to one column behind a reduction is looked past."""
    node = makers.get(value)
    if node is not None and node.operator == "Slice" and len(node.inputs) == 4:
        bounds = [constants.get(name) for name in node.inputs[1:]]
        if bounds == [_INTEGERS[0], _INTEGERS[1], _INTEGERS[-1]]:
            return makers.get(node.inputs[0])
    return node


def _operator(inputs: tuple[str, ...], output: str, name: str) -> _Node:
    message = b"".join(
        [
            *(field(1, value.encode()) for value in inputs),
            field(2, output.encode()),
            field(3, name.encode()),
            field(4, OPERATOR.encode()),
            field(7, DOMAIN.encode()),
        ]
    )
    return _Node(inputs, (output,), name, OPERATOR, DOMAIN, message)


def _read(nodes: Sequence[_Node], outputs: set[str]) -> list[_Node]:
    """The nodes that outputs of the graph are made from, in the order they have."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            wanted.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def _node(message: bytes) -> _Node:
    texts: dict[int, list[str]] = {1: [], 2: [], 3: [], 4: [], 7: []}
    for number, value, _ in _fields(message):
        if number in texts:
            texts[number].append(value.decode())
    name, operator, domain = (next(iter(texts[number]), "") for number in (3, 4, 7))
    return _Node(tuple(texts[1]), tuple(texts[2]), name, operator, domain, message)


def _constant(message: bytes) -> tuple[str, bytes]:
    """Name of an initializer, and its bytes if they are in the graph."""
    fields = {number: value for number, value, _ in _fields(message) if number in (8, 9)}
    return fields[8].decode(), fields.get(9, b"")


def _texts(message: bytes, wanted: int) -> list[str]:
    return [value.decode() for number, value, _ in _fields(message) if number == wanted]


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, content and all bytes of every field; only those of bytes have a content."""
    at = 0
    while at < len(message):
        begin = at
        key, at = _varint(message, at)
        kind, content = key & 7, b""
        if kind == _BYTES:
            size, at = _varint(message, at)
            content, at = message[at : at + size], at + size
        elif kind == _VARINT:
            _, at = _varint(message, at)
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind}")
        if at > len(message):
            raise ValueError("truncated")
        yield key >> 3, content, message[begin:at]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = shift = 0
    while at < len(message):
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("truncated")
