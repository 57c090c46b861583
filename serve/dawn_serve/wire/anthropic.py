"""Requests in the shape of Anthropic's API: messages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

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
from dawn_serve.wire.messages import text_of
from dawn_serve.wire.records import wire

_ROLES: Final = ("user", "assistant")


def _message(where: str, value: Mapping[str, Any]) -> dict[str, str]:
    role = value.get("role")
    if role not in _ROLES:
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
    return {"role": role, "content": text_of(f"{where}.content", value["content"])}


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


@dataclass(frozen=True)
class Counted:
    """What is counted, and what an answer needs too."""

    messages: list[dict[str, str]] = wire(
        ListOf(Object(_message, {"role": Text(), "content": Text()}, ("role", "content")), 1),
        "the conversation so far",
    )
    model: str | None = wire(Text(1, 256), "its name, as /v1/models has it", default=None)
    system: str | None = wire(System(), "what the model is told first", default=None)
    tools: Any = wire(Only(([],), "this model is offered no tools"), "not done here", default=None)
    tool_choice: Any = wire(
        Only(({"type": "auto"}, {"type": "none"}), "this model is offered no tools"),
        "not done here",
        default=None,
    )
    thinking: Any = wire(
        Only(({"type": "disabled"},), "this model does not think apart from its answer"),
        "not done here",
        default=None,
    )

    @property
    def turns(self) -> list[dict[str, str]]:
        """The conversation, what the model is told first included.

        Raises:
            RequestError: It ends with an answer.
        """
        if self.messages[-1]["role"] == "assistant":
            raise RequestError(
                "the last message is the assistant's, and no answer goes on with one here; end "
                "with a message of the user",
                "messages",
            )
        first = [] if not self.system else [{"role": "system", "content": self.system}]
        return [*first, *self.messages]


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
