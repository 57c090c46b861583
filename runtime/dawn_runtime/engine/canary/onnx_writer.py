"""ONNX models as bytes, for graphs small enough to be written node by node.

The runtime does without the onnx package. A message of the protobuf wire format is a sequence of
fields, each a key ``number << 3 | wire type`` and a value: a varint (type 0), four bytes (type 5),
or a length and that many bytes (type 2). Numbers of fields and types are those of onnx.proto.
"""

import struct
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_VARINT, _BYTES, _FIXED32 = 0, 2, 5
_FLOAT, _INT, _INTS = 1, 2, 7
"""Types of an attribute."""

FLOAT, UINT8, INT8, INT64, BOOL, FLOAT16, BFLOAT16, INT4 = 1, 2, 3, 7, 9, 10, 16, 22
"""Types of an element, of TensorProto.DataType."""

ELEMENTS: Final = {"fp32": FLOAT, "fp16": FLOAT16, "bf16": BFLOAT16}
"""Activations of an artifact -> type of an element."""

_OF_NUMPY: Final = {"float32": FLOAT, "uint8": UINT8, "int8": INT8, "int64": INT64, "bool": BOOL}

Attribute = int | float | tuple[int, ...]


def field(number: int, value: int | float | bytes) -> bytes:
    """Returns one field of a message."""
    if isinstance(value, int):
        return varint(number << 3 | _VARINT) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | _FIXED32) + struct.pack("<f", value)
    return varint(number << 3 | _BYTES) + varint(len(value)) + value


def varint(value: int) -> bytes:
    """Returns a number, seven bits a byte; negative ones in two's complement of 64 bits."""
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def model_bytes(graph: bytes, opset: int, ir_version: int, domains: Iterable[str] = ()) -> bytes:
    """Returns a ModelProto around a GraphProto; other domains are taken at version 1."""
    imports = [field(2, opset)] + [field(1, name.encode()) + field(2, 1) for name in domains]
    return field(1, ir_version) + field(7, graph) + b"".join(field(8, one) for one in imports)


def described(name: str, element: int, shape: tuple[int, ...]) -> bytes:
    """Returns a ValueInfoProto: name, type and shape of an input or output."""
    axes = b"".join(field(1, field(1, size)) for size in shape)
    return field(1, name.encode()) + field(2, field(1, field(1, element) + field(2, axes)))


def node_bytes(
    operator: str, inputs: Iterable[str], outputs: Iterable[str], domain: str, attributes: Any
) -> bytes:
    """Returns a NodeProto."""
    return (
        b"".join(field(1, name.encode()) for name in inputs)
        + b"".join(field(2, name.encode()) for name in outputs)
        + field(4, operator.encode())
        + b"".join(field(5, _attribute(*item)) for item in attributes.items())
        + (field(7, domain.encode()) if domain else b"")
    )


def _attribute(name: str, value: Attribute) -> bytes:
    named = field(1, name.encode())
    if isinstance(value, tuple):
        return named + b"".join(field(8, one) for one in value) + field(20, _INTS)
    return named + field(2 if isinstance(value, float) else 3, value) + field(20, _type_of(value))


def _type_of(value: int | float) -> int:
    return _FLOAT if isinstance(value, float) else _INT


def tensor_bytes(name: str, element: int, shape: tuple[int, ...], data: bytes) -> bytes:
    """Returns a TensorProto."""
    sizes = b"".join(field(1, size) for size in shape)
    return sizes + field(2, element) + field(8, name.encode()) + field(9, data)


def element_of(array: NDArray[Any]) -> int:
    """Returns the type of the elements of an array."""
    return _OF_NUMPY[array.dtype.name]


def encoded(array: NDArray[Any], element: int) -> bytes:
    """Returns the elements of an array as a TensorProto holds them, lowest byte first."""
    if element == FLOAT16:
        array = array.astype("<f2")
    elif element == BFLOAT16:
        bits = np.ascontiguousarray(array, "<f4").view("<u4")
        array = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")
    elif element == INT4:
        low, high = array.reshape(-1, 2).T & 15
        array = (low | high << 4).astype(np.uint8)
    little: bytes = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return little
