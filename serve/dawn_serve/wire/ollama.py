"""Requests in the shape of Ollama's API: a chat."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dawn_runtime import Conversation
from dawn_serve.wire.decoding import STOPS, Decoding, setting
from dawn_serve.wire.kinds import Flag, Ignored, Integer, ListOf, Object, Only, Text
from dawn_serve.wire.messages import MESSAGE, message
from dawn_serve.wire.records import read_record, wire
from dawn_serve.wire.tools import FUNCTION_TOOLS

_OF_ITS_OWN: Final = "this server decides it when it starts"


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """Options of a chat, as Ollama calls them."""

    num_predict: int | None = wire(
        Integer(-2), "most tokens of the answer; below 1 is the server's own", default=None
    )
    temperature: float | None = setting("temperature")
    top_p: float | None = setting("top_p")
    top_k: int | None = setting("top_k")
    seed: int | None = setting("seed")
    stop: str | list[str] | None = wire(STOPS, "texts at which it ends", default=None)
    num_ctx: Any = wire(Ignored(), _OF_ITS_OWN, default=None)
    num_batch: Any = wire(Ignored(), _OF_ITS_OWN, default=None)
    num_gpu: Any = wire(Ignored(), _OF_ITS_OWN, default=None)
    num_thread: Any = wire(Ignored(), _OF_ITS_OWN, default=None)

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts at which the answer ends."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    def given(self) -> dict[str, Any]:
        """Returns the settings that are given, by name."""
        names = ("temperature", "top_p", "top_k", "seed")
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}


def _options(where: str, value: Mapping[str, Any]) -> ChatOptions:
    return read_record(ChatOptions, value, where)


@dataclass(frozen=True, slots=True)
class OllamaChatRequest:
    """An answer in a conversation; how it is decoded stands in `dawn`."""

    model: str = wire(Text(1, 256), "its name, as /api/tags has it")
    messages: list[dict[str, Any]] = wire(
        ListOf(Object(message, described=MESSAGE), 1),
        "the conversation so far",
    )
    stream: bool = wire(Flag(), "send the answer as it becomes final", default=True)
    options: ChatOptions = wire(Object(_options), "how it is drawn", default=ChatOptions())
    dawn: Decoding = wire(
        Object(lambda where, value: read_record(Decoding, value, where)),
        "how it is decoded, as in the other APIs",
        default=Decoding(),
    )
    format: Any = wire(
        Only(("",), "for answers of a given form use /v1/choose or /v1/fill"),
        "not done here",
        default=None,
    )
    tools: list[Mapping[str, Any]] = wire(
        FUNCTION_TOOLS, "what the model may call, if its chat template knows tools", default=()
    )
    think: bool | None = wire(
        Flag(), "whether the model reasons first, if its chat template knows", default=None
    )
    keep_alive: Any = wire(Ignored(), "the model stays", default=None)

    @property
    def said(self) -> Conversation:
        """The conversation, and what is offered in it."""
        return Conversation(self.messages, self.tools, self.think)
