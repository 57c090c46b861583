"""Requests of our own: templates to fill."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dawn_runtime import Conversation
from dawn_serve.wire.decoding import Decoding
from dawn_serve.wire.kinds import AnyOf, Flag, Integer, ListOf, Object, RequestError, Text
from dawn_serve.wire.messages import MESSAGE, message
from dawn_serve.wire.records import wire

_PIECE: Final = AnyOf((Text(), Integer(1)))
_MESSAGES: Final = ListOf(Object(message, described=MESSAGE), 1)


@dataclass(frozen=True)
class Before:
    """What precedes: a text, a conversation, or nothing."""

    model: str | None = wire(Text(1, 256), "its name, as /v1/models has it", default=None)
    prompt: str | None = wire(Text(), "text that precedes", default=None)
    messages: list[Mapping[str, Any]] | None = wire(
        _MESSAGES, "conversation that precedes", default=None
    )

    @property
    def before(self) -> str | Conversation | None:
        """The text or the conversation.

        Raises:
            RequestError: Both are given.
        """
        if self.prompt is not None and self.messages is not None:
            raise RequestError("got prompt and messages; give at most one of them", "prompt")
        return self.prompt if self.messages is None else Conversation(self.messages)


@dataclass(frozen=True, slots=True)
class FillRequest(Decoding, Before):
    """The holes of a template, decided with a look at both sides."""

    template: list[str | int] = wire(
        ListOf(_PIECE, 1), "texts and, as numbers, how many tokens are to be decided between them"
    )
    stream: bool = wire(Flag(), "send the text as it becomes final", default=False)
