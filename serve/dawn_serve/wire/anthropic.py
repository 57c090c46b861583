"""Requests in the shape of Anthropic's API: messages."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any, ClassVar, Final

from dawn_runtime import Conversation
from dawn_runtime.checks import shown
from dawn_serve.wire.decoding import LONGEST_STOP, MOST_STOPS, Decoding
from dawn_serve.wire.kinds import (
    Flag,
    Ignored,
    Integer,
    Kind,
    ListOf,
    Object,
    Only,
    RequestError,
    Schema,
    Text,
)
from dawn_serve.wire.messages import TEXT, object_of, parts_of, text_of
from dawn_serve.wire.records import wire
from dawn_serve.wire.tools import CANNOT_FORCE, CLIENT_TOOLS, ToolName, call

_BLOCKS: Final = {
    "user": ("text", "tool_result"),
    "assistant": ("text", "thinking", "tool_use"),
}
"""What messages of a role may be made of."""


def _message(where: str, value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns what templates take: results of tools are messages of their own there."""
    role = value.get("role")
    if not isinstance(role, str) or role not in _BLOCKS:
        raise RequestError(
            f"{where}.role is {shown(role)}; expected user or assistant", f"{where}.role"
        )
    for name in value:
        if name not in ("role", "content"):
            raise RequestError(
                f"{where} has the field {shown(name)}; expected role and content", f"{where}.{name}"
            )
    if value.get("content") is None:
        raise RequestError(f"{where} has no content; give its text", f"{where}.content")
    content = value["content"]
    if not isinstance(content, list):
        return [{"role": role, "content": text_of(f"{where}.content", content)}]
    blocks = [_block(f"{where}.content[{n}]", role, one) for n, one in enumerate(content)]
    return _answered(blocks) if role == "assistant" else _asked(blocks)


def _block(where: str, role: str, block: object) -> tuple[str, Any]:
    """Returns the kind of a block, and what is in it: a text, a call or a result."""
    kind = block.get("type") if isinstance(block, Mapping) else None
    if not isinstance(block, Mapping) or kind not in _BLOCKS[role]:
        raise RequestError(
            f"{where} is {shown(block)}; this model reads text, so expected a block of the type "
            f"{' or '.join(_BLOCKS[role])} in a message of the {role}",
            where,
        )
    if kind == "thinking":
        return kind, Text().read(f"{where}.thinking", block.get("thinking"))
    if kind == "tool_use":
        name = ToolName().read(f"{where}.name", block.get("name"))
        arguments = Object().read(f"{where}.input", block.get("input"))
        return kind, call(Text().read(f"{where}.id", block.get("id")), name, arguments)
    if kind == "tool_result":
        number = Text().read(f"{where}.tool_use_id", block.get("tool_use_id"))
        content = block.get("content")
        text = "" if content is None else text_of(f"{where}.content", content)
        return kind, {"role": "tool", "tool_call_id": number, "content": text}
    return kind, text_of(where, [block])


def _answered(blocks: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    """A message of the assistant."""
    found: dict[str, Any] = {"role": "assistant", "content": _joined(blocks, "text")}
    if thought := _joined(blocks, "thinking"):
        found["reasoning_content"] = thought
    if calls := [inside for kind, inside in blocks if kind == "tool_use"]:
        found["tool_calls"] = calls
    return [found]


def _asked(blocks: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    """Messages of the user: results of tools, and texts between them, in their order."""
    found: list[dict[str, Any]] = []
    for is_text, group in groupby(blocks, lambda block: block[0] == "text"):
        inside = list(group)
        text = [{"role": "user", "content": _joined(inside, "text")}]
        found += text if is_text else [result for _, result in inside]
    return found or [{"role": "user", "content": ""}]


def _joined(blocks: list[tuple[str, Any]], wanted: str) -> str:
    return "".join(inside for kind, inside in blocks if kind == wanted)


def _block_of(kind: str, **fields: Schema) -> Schema:
    """The schema of a block, all fields required."""
    properties = {"type": {"enum": [kind]}, **fields}
    return {"type": "object", "properties": properties, "required": list(properties)}


_RESULT: Final[Schema] = _block_of("tool_result", tool_use_id=TEXT)
_RESULT["properties"]["content"] = parts_of()
_ASKED: Final[Schema] = {"role": {"enum": ["user"]}, "content": parts_of(_RESULT)}
_ANSWERED: Final[Schema] = {
    "role": {"enum": ["assistant"]},
    "content": parts_of(
        _block_of("thinking", thinking=TEXT),
        _block_of("tool_use", id=TEXT, name=ToolName().schema(), input={"type": "object"}),
    ),
}
_MESSAGE: Final[Schema] = {
    "anyOf": [object_of(_ASKED, "role", "content"), object_of(_ANSWERED, "role", "content")]
}


class Thinking(Kind):
    """Whether the model is to reason first; read as True, False, or None for what is usual."""

    expected = '{"type": "enabled", "budget_tokens": 1024}, {"type": "adaptive"} or "disabled"'

    _KINDS: ClassVar = {"enabled": True, "adaptive": None, "disabled": False}

    def accepts(self, value: object) -> bool:
        """As in `Kind`."""
        return isinstance(value, dict) and value.get("type") in ("enabled", "adaptive", "disabled")

    def read(self, where: str, value: object) -> bool | None:
        """As in `Kind`; a budget is a wish, and `max_tokens` the bound of both together."""
        given: Any = super().read(where, value)
        for name in given:
            if name not in ("type", "budget_tokens"):
                raise RequestError(
                    f"{where} has the field {shown(name)}; expected {self.expected}",
                    f"{where}.{name}",
                )
        if given.get("budget_tokens") is not None:
            Integer(1).read(f"{where}.budget_tokens", given["budget_tokens"])
        found: bool | None = self._KINDS[given["type"]]
        return found

    def schema(self) -> Schema:
        """As in `Kind`."""
        kinds = {"type": "string", "enum": list(self._KINDS)}
        fields = {"type": kinds, "budget_tokens": Integer(1).schema()}
        return {"type": "object", "properties": fields, "required": ["type"]}


class System(Kind):
    """What the model is told before the conversation: a text, or blocks of text."""

    expected = "a text or a list of blocks of text"

    def accepts(self, value: object) -> bool:
        """As in `Kind`."""
        return isinstance(value, (str, list))

    def read(self, where: str, value: object) -> str:
        """As in `Kind`."""
        return text_of(where, super().read(where, value))

    def schema(self) -> Schema:
        """As in `Kind`."""
        return {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]}


_AUTO: Final = {"type": "auto"}
_CHOICES: Final = (_AUTO, {**_AUTO, "disable_parallel_tool_use": False}, {"type": "none"})


@dataclass(frozen=True)
class Counted:
    """What is counted, and what an answer needs too."""

    messages: list[list[dict[str, Any]]] = wire(
        ListOf(Object(_message, described=_MESSAGE), 1),
        "the conversation so far",
    )
    model: str | None = wire(Text(1, 256), "its name, as /v1/models has it", default=None)
    system: str | None = wire(System(), "what the model is told first", default=None)
    tools: list[Mapping[str, Any]] = wire(
        CLIENT_TOOLS, "what the model may call, if its chat template knows tools", default=()
    )
    tool_choice: Mapping[str, Any] | None = wire(
        Only(_CHOICES, f'{CANNOT_FORCE}{{"type": "auto"}} or {{"type": "none"}}'),
        "whether tools are offered",
        default=None,
    )
    thinking: bool | None = wire(
        Thinking(), "whether the model reasons first, if its chat template knows", default=None
    )

    @property
    def said(self) -> Conversation:
        """The conversation, what the model is told first included, and what is offered in it.

        Raises:
            RequestError: It ends with an answer.
        """
        if self.messages[-1][-1]["role"] == "assistant":
            raise RequestError(
                "the last message is the assistant's, and no answer goes on with one here; end "
                "with a message of the user",
                "messages",
            )
        first = [] if not self.system else [{"role": "system", "content": self.system}]
        offered = self.tool_choice is None or self.tool_choice["type"] != "none"
        turns = [*first, *chain.from_iterable(self.messages)]
        return Conversation(turns, self.tools if offered else (), self.thinking)


@dataclass(frozen=True, slots=True)
class MessagesRequest(Decoding, Counted):
    """An answer in a conversation."""

    max_tokens: int = wire(Integer(1), "most tokens of the answer, as far as there is room")
    stop_sequences: list[str] = wire(
        ListOf(Text(1, LONGEST_STOP), 0, MOST_STOPS), "texts at which it ends", default=()
    )
    stream: bool = wire(Flag(), "send the answer as it becomes final", default=False)
    metadata: Any = wire(Ignored(), "the client's own", default=None)
    service_tier: Any = wire(Ignored(), "there is one", default=None)


@dataclass(frozen=True)
class CountRequest(Counted):
    """How many tokens a conversation has."""
