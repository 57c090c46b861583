"""Messages of a chat, as they come from clients, made into what chat templates take."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dawn_runtime.checks import shown
from dawn_serve.wire.kinds import RequestError, Schema, Text
from dawn_serve.wire.tools import CALL, MOST_CALLS, called

ROLES: Final = ("system", "developer", "user", "assistant", "tool")
"""A role ends up beside special tokens in most templates, so it is one of a few."""


_CALLED: Final = {"developer": "system"}
"""Roles that templates know under an older name."""

_PASSED: Final = ("name", "tool_call_id")
"""Fields with a text that a template may know."""

_EMPTY: Final = ("refusal", "audio", "annotations", "function_call", "images")
"""Fields of other answers, which clients send back; there is nothing in them that is read here."""

_RENAMED: Final = {"thinking": "reasoning_content", "tool_name": "name"}
"""What Ollama's clients call what templates know by another name."""


TEXT: Final[Schema] = {"type": "string"}


def object_of(properties: Schema, *required: str) -> Schema:
    """Returns the schema of an object that has no other fields.

    Args:
        properties: Schemas of its fields.
        required: Those that it must have.
    """
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def parts_of(*blocks: Schema) -> Schema:
    """Returns the schema of a content that is a text or a list of blocks.

    Args:
        blocks: Schemas of the kinds of blocks beside those of text.
    """
    kinds = [_TEXT_PART, *blocks]
    return {"anyOf": [TEXT, {"type": "array", "items": {"anyOf": kinds}}]}


_TEXT_PART: Final[Schema] = {
    "type": "object",
    "properties": {"type": {"enum": ["text"]}, "text": TEXT},
    "required": ["type", "text"],
}
_USUAL: Final[Schema] = {
    "name": TEXT,
    "tool_call_id": TEXT,
    **{name: {"type": "null"} for name in _EMPTY},
}
_BY_ROLE: Final[Schema] = {"role": {"enum": list(ROLES)}, "content": parts_of(), **_USUAL}
_CALLING: Final[Schema] = {
    "role": {"enum": ["assistant"]},
    "content": {"anyOf": [*parts_of()["anyOf"], {"type": "null"}]},
    "reasoning_content": TEXT,
    "tool_calls": {"type": "array", "minItems": 1, "items": CALL, "maxItems": MOST_CALLS},
    **_USUAL,
}
MESSAGE: Final[Schema] = {
    "anyOf": [
        object_of(_BY_ROLE, "role", "content"),
        object_of(_CALLING, "role", "tool_calls"),
    ]
}
"""What a schema tells of a message."""


def message(where: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a message with a text as its content.

    Args:
        where: Its field.
        value: What the client sent.

    Raises:
        RequestError: It is no message that a model of text can read.
    """
    role = value.get("role")
    if role not in ROLES:
        raise RequestError(
            f"{where}.role is {shown(role)}; expected one of {', '.join(ROLES)}", f"{where}.role"
        )
    given = {_RENAMED.get(k, k): v for k, v in value.items() if v is not None}
    found: dict[str, Any] = {"role": _CALLED.get(role, role)}
    found |= _beside(where, {k: v for k, v in given.items() if k not in ("role", "content")}, role)
    content = given.get("content")
    if content is None and not found.get("tool_calls"):
        raise RequestError(
            f"{where} has no content; give the text of the message as content", f"{where}.content"
        )
    found["content"] = "" if content is None else text_of(f"{where}.content", content)
    return found


def _beside(where: str, given: Mapping[str, Any], role: str) -> dict[str, Any]:
    """What a message has beside role and content."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        place = f"{where}.{name}"
        if name == "tool_calls" and value and role == "assistant":
            found[name] = called(place, value)
        elif name in _PASSED or (name == "reasoning_content" and role == "assistant"):
            found[name] = Text().read(place, value)
        elif value or name not in (*_EMPTY, "tool_calls", "reasoning_content"):
            raise RequestError(
                f"{where} has the field {shown(name)}; expected role and content, or calls of "
                "tools and their results",
                place,
            )
    return found


def text_of(where: str, content: object) -> str:
    """Returns the text of a content, which may come in parts.

    Args:
        where: Its field.
        content: A text, or a list of parts such as `{"type": "text", "text": "hello"}`.

    Raises:
        RequestError: It is something else, or a part is no text.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise RequestError(
            f"{where} is {shown(content)}; expected a text or a list of parts", where
        )
    return "".join(_part(f"{where}[{n}]", part) for n, part in enumerate(content))


def _part(where: str, part: object) -> str:
    text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None
    if not isinstance(text, str):
        raise RequestError(
            f"{where} is {shown(part)}; this model reads text alone, so expected "
            '{"type": "text", "text": "hello"}',
            where,
        )
    return text
