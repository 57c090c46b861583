"""ONNX files at the level of bytes: the versions of a graph, and the smallest graph there is.

The runtime does without the onnx package. Little is needed of the format (onnx.proto, protobuf wire
format): a message is a sequence of fields, each a key `number << 3 | wire type` and a value, which
is a varint (type 0) or a length and that many bytes (type 2).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from dawn_runtime.errors import ArtifactError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES: Final = {_FIXED64: 8, _FIXED32: 4}
_IR_VERSION, _GRAPH, _OPSET_IMPORT = 1, 7, 8
_DOMAIN, _VERSION = 1, 2
_MOST_OPSET_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class GraphVersions:
    """What a reader of a graph must know.

    Attributes:
        opset: Version of the standard operators.
        ir_version: Version of the file format.
    """

    opset: int
    ir_version: int


def graph_versions(path: Path) -> GraphVersions:
    """Reads the versions of an ONNX file, skipping its graph.

    Raises:
        ArtifactError: The file cannot be read or is not an ONNX model.
    """
    try:
        with path.open("rb") as file:
            return _versions(file)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: not an ONNX model ({error}); export again") from error


def _versions(file: BinaryIO) -> GraphVersions:
    ir_version = opset = 0
    for number, value in _fields(file, keep=(_OPSET_IMPORT,)):
        if number == _IR_VERSION and isinstance(value, int):
            ir_version = value
        elif number == _OPSET_IMPORT and isinstance(value, bytes):
            opset = _standard_opset(value) or opset
    if not opset:
        raise ValueError("it names no opset")
    return GraphVersions(opset, ir_version)


def _standard_opset(message: bytes) -> int:
    """Version in an OperatorSetIdProto, 0 if it is of another domain than the standard one."""
    fields = dict(_fields(BytesIO(message), keep=(_DOMAIN,)))
    version = fields.get(_VERSION, 0)
    return version if isinstance(version, int) and not fields.get(_DOMAIN) else 0


def _fields(file: BinaryIO, keep: tuple[int, ...]) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message in order; bytes of a field not in `keep` are skipped."""
    while (key := _read_varint(file)) is not None:
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            yield number, _expect(_read_varint(file))
        elif kind == _BYTES:
            size = _expect(_read_varint(file))
            if number in keep and size <= _MOST_OPSET_BYTES:
                yield number, file.read(size)
            else:
                file.seek(size, 1)
        elif kind in _FIXED_SIZES:
            file.seek(_FIXED_SIZES[kind], 1)
        else:
            raise ValueError(f"wire type {kind}")


def _read_varint(file: BinaryIO) -> int | None:
    """Reads seven bits a byte, lowest first; None at the end of the file."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            if shift:
                raise ValueError("truncated")
            return None
        value |= (byte[0] & 0x7F) << shift
        if not byte[0] & 0x80:
            return value
    raise ValueError("a number of more than 64 bits")


def _expect(value: int | None) -> int:
    if value is None:
        raise ValueError("truncated")
    return value


def minimal_model(versions: GraphVersions) -> bytes:
    """Returns the smallest model that runs: `y = Identity(x)`, both float32 of shape [1].

    Field numbers of onnx.proto: ModelProto ir_version 1, graph 7, opset_import 8; GraphProto node
    1, name 2, input 11, output 12; NodeProto input 1, output 2, op_type 4; ValueInfoProto name 1,
    type 2; TypeProto tensor_type 1; Tensor elem_type 1 (1 is float32), shape 2.
    """
    one_axis = _field(1, _field(1, 1))
    tensor_type = _field(1, _field(1, 1) + _field(2, one_axis))
    node = _field(1, b"x") + _field(2, b"y") + _field(4, b"Identity")
    values = [_field(1, name) + _field(2, tensor_type) for name in (b"x", b"y")]
    graph = _field(1, node) + _field(2, b"g") + _field(11, values[0]) + _field(12, values[1])
    opset = _field(_VERSION, versions.opset)
    return (
        _field(_IR_VERSION, versions.ir_version)
        + _field(_GRAPH, graph)
        + _field(_OPSET_IMPORT, opset)
    )


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
