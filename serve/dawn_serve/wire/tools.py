"""Tools that clients offer, and calls of them that they send back, in the shape of each API.

Templates take all of them in one shape, that of OpenAI's API, the arguments of a call as an object.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dawn_runtime._json import parse_json
from dawn_runtime.checks import shown
from dawn_serve.wire.kinds import Ignored, Kind, ListOf, Object, Only, RequestError, Schema, Text
from dawn_serve.wire.records import read_record, wire

MOST_TOOLS: Final = 128
MOST_CALLS: Final = 128

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_NO_FIELDS: Final = {"type": "object", "properties": {}}

CANNOT_FORCE: Final = "the model decides whether it calls a tool, and which; leave it out, or give "
CANNOT_LIMIT: Final = "the model decides how many tools it calls; leave it out, or give "


class ToolName(Kind):
    """The name of a tool."""

    expected = "a name of at most 128 letters, digits and . _ -"

    def accepts(self, value: object) -> bool:
        """As in `Kind`."""
        return isinstance(value, str) and _NAME.fullmatch(value) is not None

    def schema(self) -> Schema:
        """As in `Kind`."""
        return {"type": "string", "pattern": f"^{_NAME.pattern}$"}


@dataclass(frozen=True, slots=True)
class Function:
    """What can be called, as OpenAI and Ollama describe it."""

    name: str = wire(ToolName(), "what it is called")
    description: str = wire(Text(), "what it does", default="")
    parameters: Mapping[str, Any] | None = wire(
        Object(), "a JSON Schema of its arguments", default=None
    )
    strict: Any = wire(
        Only((False,), "arguments are not held to their schema here; check them, and leave it out"),
        "not done here",
        default=None,
    )


@dataclass(frozen=True, slots=True)
class FunctionTool:
    """A tool, as OpenAI and Ollama describe it."""

    function: Function = wire(
        Object(lambda where, value: read_record(Function, value, where), {"name": ToolName()}),
        "what can be called",
    )
    type: str = wire(Text(choices=("function",)), "what it is", default="function")


@dataclass(frozen=True, slots=True)
class ClientTool:
    """A tool, as Anthropic describes it."""

    name: str = wire(ToolName(), "what it is called")
    input_schema: Mapping[str, Any] = wire(Object(), "a JSON Schema of its arguments")
    description: str = wire(Text(), "what it does", default="")
    type: str = wire(Text(choices=("custom",)), "one that the client runs", default="custom")
    cache_control: Any = wire(Ignored(), "prefixes are kept without being told", default=None)


def _function_tool(where: str, value: Mapping[str, Any]) -> dict[str, Any]:
    one = read_record(FunctionTool, value, where).function
    return described(one.name, one.description, one.parameters)


def _client_tool(where: str, value: Mapping[str, Any]) -> dict[str, Any]:
    one = read_record(ClientTool, value, where)
    return described(one.name, one.description, one.input_schema)


def described(name: str, description: str, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns a tool as templates take it."""
    fields = parameters or _NO_FIELDS
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": fields},
    }


class Tools(ListOf):
    """A list of tools, each name once."""

    def read(self, where: str, value: object) -> list[Any]:
        """As in `Kind`."""
        tools = super().read(where, value)
        names = [tool["function"]["name"] for tool in tools]
        if len(set(names)) < len(names):
            twice = next(one for one in names if names.count(one) > 1)
            raise RequestError(f"{where} hold {shown(twice)} twice; give each once", where)
        return tools


FUNCTION_TOOLS: Final = Tools(
    Object(_function_tool, {"function": Object()}, ("function",)), 0, MOST_TOOLS
)
CLIENT_TOOLS: Final = Tools(
    Object(_client_tool, {"name": ToolName(), "input_schema": Object()}, ("name", "input_schema")),
    0,
    MOST_TOOLS,
)


_FUNCTION: Final[Schema] = {
    "type": "object",
    "properties": {
        "name": ToolName().schema(),
        "arguments": {
            "anyOf": [
                {"type": "object"},
                {"type": "string", "contentMediaType": "application/json"},
            ]
        },
    },
    "required": ["name"],
}
CALL: Final[Schema] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "type": {"enum": ["function"]},
        "function": _FUNCTION,
    },
    "required": ["function"],
}
"""What a schema tells of a call that is sent back."""


def called(where: str, calls: object) -> list[dict[str, Any]]:
    """Returns calls that a client sends back, as templates take them.

    Args:
        where: Their field.
        calls: As OpenAI and Ollama have them; arguments are an object or a text of JSON.

    Raises:
        RequestError: They are none.
    """
    if not isinstance(calls, Sequence) or isinstance(calls, str) or len(calls) > MOST_CALLS:
        raise RequestError(
            f"{where} is {shown(calls)}; expected a list of at most {MOST_CALLS} calls", where
        )
    return [_call(f"{where}[{number}]", one) for number, one in enumerate(calls)]


def _call(where: str, value: object) -> dict[str, Any]:
    function = value.get("function") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(function, Mapping):
        raise RequestError(
            f'{where} is {shown(value)}; expected {{"function": {{"name": "add", "arguments": '
            '"{}"}}',
            where,
        )
    if value.get("type", "function") != "function":
        raise RequestError(
            f"{where}.type is {shown(value['type'])}; expected function", f"{where}.type"
        )
    inside = f"{where}.function"
    name = ToolName().read(f"{inside}.name", function.get("name"))
    number = value.get("id")
    checked = None if number is None else Text().read(f"{where}.id", number)
    return call(checked, name, _arguments(f"{inside}.arguments", function.get("arguments")))


def call(number: str | None, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a call as templates take it.

    Args:
        number: Its id; None if it has none.
        name: Of the tool.
        arguments: An object.
    """
    head = {} if number is None else {"id": number}
    return {**head, "type": "function", "function": {"name": name, "arguments": dict(arguments)}}


def _arguments(where: str, value: object) -> Mapping[str, Any]:
    """Returns arguments as an object, which they are in Ollama's API and a text of in OpenAI's."""
    found = {} if value is None else value
    if isinstance(value, str):
        try:
            found = parse_json(value) if value.strip() else {}
        except ValueError as error:
            raise RequestError(f"{where} is no JSON: {error}", where) from error
    if not isinstance(found, Mapping):
        raise RequestError(f"{where} is {shown(value)}; expected an object of JSON", where)
    return found
