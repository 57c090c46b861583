"""Records of JSON: dataclasses whose fields are declared by `wire`.

    @dataclass(frozen=True, slots=True)
    class Tokenize:
        text: str = wire(Text(), "what to count")
        special: bool | None = wire(Flag(), "whether tokens of its own are counted", default=False)

    Tokenize.read({"text": "a"})

A field that is null is as if it were left out. A field that a record does not have is refused: what
a client asks for in vain it should hear of.
"""

from collections.abc import Mapping
from dataclasses import MISSING, field, fields
from typing import Any, Final, TypeVar

from dawn_runtime.checks import shown
from dawn_runtime.registry import unknown
from dawn_serve.wire.kinds import Kind, RequestError, Schema

_KIND: Final = "dawn_serve.kind"
_HELP: Final = "dawn_serve.help"

T = TypeVar("T")


def wire(kind: Kind, help: str, *, default: Any = MISSING) -> Any:  # noqa: A002 - as in argparse
    """Declares a field.

    Args:
        kind: What it may be.
        help: What it is.
        default: Its value where it is left out; without one it must be there.
    """
    metadata = {_KIND: kind, _HELP: help}
    if default is MISSING:
        return field(kw_only=True, metadata=metadata)
    return field(default=default, kw_only=True, metadata=metadata)


def read_record(cls: type[T], document: object, where: str = "") -> T:
    """Makes a record of an object of JSON.

    Args:
        cls: The dataclass.
        document: What JSON had.
        where: Its field, empty for the whole request.

    Raises:
        RequestError: It is no object, a field is unknown, missing or of another kind.
    """
    if not isinstance(document, Mapping):
        raise RequestError(f"{where or 'the request'} is {shown(document)}; expected an object")
    known = {one.name: one for one in fields(cls)}  # type: ignore[arg-type]  # a dataclass
    prefix = f"{where}." if where else ""
    for name in document:
        if name not in known:
            owner = f"field of {where or 'the request'}"
            raise RequestError(unknown(owner, name, tuple(known)), prefix + name)
    values = {name: value for name, value in document.items() if value is not None}
    for name, one in known.items():
        if name in values:
            values[name] = one.metadata[_KIND].read(prefix + name, values[name])
        elif one.default is MISSING:
            expected = one.metadata[_KIND].expected
            raise RequestError(f"{prefix}{name} is missing; expected {expected}", prefix + name)
    return cls(**values)


def schema_of(cls: type[Any]) -> Schema:
    """Describes a record as a JSON Schema.

    Args:
        cls: The dataclass.
    """
    properties, required = {}, []
    for one in fields(cls):
        described = {"description": one.metadata[_HELP]} | one.metadata[_KIND].schema()
        if one.default is MISSING:
            required.append(one.name)
            properties[one.name] = described
        else:
            properties[one.name] = {"anyOf": [described, {"type": "null"}]}
    found: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return found | ({"required": required} if required else {})
