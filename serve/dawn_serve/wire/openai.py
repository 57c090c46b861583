"""Requests in the shape of OpenAI's API: completions and chat completions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dawn_runtime import Conversation
from dawn_runtime.checks import is_integer, shown
from dawn_serve.wire.decoding import STOPS, Decoding
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
from dawn_serve.wire.messages import MESSAGE, message
from dawn_serve.wire.records import read_record, wire
from dawn_serve.wire.tools import CANNOT_FORCE, CANNOT_LIMIT, FUNCTION_TOOLS

MOST_CHOICES: Final = 128
MOST_PROMPTS: Final = 256


class Prompts(Kind):
    """A text, token ids, or several of either; read as a tuple of them."""

    expected = "a text, a list of texts, a list of token ids or a list of such lists"

    def accepts(self, value: object) -> bool:
        """As in `Kind`."""
        return isinstance(value, str) or (isinstance(value, list) and bool(value))

    def read(self, where: str, value: object) -> tuple[str | list[int], ...]:
        """As in `Kind`."""
        given: Any = super().read(where, value)
        if isinstance(given, str) or _are_ids(given):
            return (given,)
        odd = [one for one in given if not isinstance(one, str) and not _are_ids(one)]
        if odd or len({type(one) for one in given}) > 1:
            raise RequestError(f"{where} is {shown(given)}; expected {self.expected}", where)
        if len(given) > MOST_PROMPTS:
            raise RequestError(
                f"{where} holds {len(given)}; expected at most {MOST_PROMPTS}", where
            )
        return tuple(given)

    def schema(self) -> Schema:
        """As in `Kind`."""
        ids: Schema = {"type": "array", "items": Integer().schema(), "minItems": 1}
        several: Schema = {"type": "array", "minItems": 1, "maxItems": MOST_PROMPTS}
        text: Schema = {"type": "string", "minLength": 1}
        return {"anyOf": [text, ids, several | {"items": text}, several | {"items": ids}]}


def _are_ids(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(is_integer, value))


_PENALTY: Final = Only((0, 0.0), "tokens are decided together here, so none is held against others")
_NO_BIAS: Final = Only(({},), "no token is made likelier here; 'forbid' leaves one out")


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What a stream holds beside the answer."""

    include_usage: bool = wire(Flag(), "end with a chunk that counts tokens", default=False)
    include_obfuscation: bool = wire(
        Only((False,), "nothing is padded here"), "never done", default=False
    )


def _stream_options(where: str, value: Mapping[str, Any]) -> StreamOptions:
    return read_record(StreamOptions, value, where)


_STREAM_OPTIONS: Final = Object(_stream_options, {"include_usage": Flag()})


@dataclass(frozen=True, slots=True)
class Common(Decoding):
    """Fields that both have."""

    model: str | None = wire(Text(1, 256), "its name, as /v1/models has it", default=None)
    max_tokens: int | None = wire(Integer(1), "most tokens of an answer", default=None)
    n: int = wire(Integer(1, MOST_CHOICES), "answers to a prompt", default=1)
    stop: str | list[str] | None = wire(STOPS, "texts at which an answer ends", default=None)
    stream: bool = wire(Flag(), "send the answer as it becomes final", default=False)
    stream_options: StreamOptions | None = wire(_STREAM_OPTIONS, "of the stream", default=None)
    presence_penalty: float = wire(_PENALTY, "not done here", default=0)
    frequency_penalty: float = wire(_PENALTY, "not done here", default=0)
    logit_bias: Any = wire(_NO_BIAS, "not done here", default=None)
    user: Any = wire(Ignored(), "the client's own", default=None)

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts at which an answer ends."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk that counts tokens."""
        return self.stream_options is not None and self.stream_options.include_usage


@dataclass(frozen=True, slots=True)
class CompletionRequest(Common):
    """An answer that goes on with a text."""

    prompt: tuple[str | list[int], ...] = wire(Prompts(), "text, token ids, or several of either")
    logprobs: int | None = wire(
        Integer(0, 1), "give the probabilities of the committed tokens", default=None
    )
    echo: bool = wire(Only((False,), "the prompt is not repeated"), "not done here", default=False)
    best_of: int | None = wire(
        Only((1,), "answers are not ranked; use n"), "not done here", default=None
    )
    suffix: str | None = wire(
        Only(("",), "text behind the answer goes into a template of /v1/fill"),
        "not done here",
        default=None,
    )


@dataclass(frozen=True, slots=True)
class TemplateOptions:
    """What a chat template is told beside the conversation."""

    enable_thinking: bool | None = wire(
        Flag(), "whether the model reasons first, if its template knows", default=None
    )


def _template_options(where: str, value: Mapping[str, Any]) -> TemplateOptions:
    return read_record(TemplateOptions, value, where)


_TEMPLATE_OPTIONS: Final = Object(_template_options, {"enable_thinking": Flag()})


@dataclass(frozen=True, slots=True)
class ChatRequest(Common):
    """An answer in a conversation."""

    messages: list[Mapping[str, Any]] = wire(
        ListOf(Object(message, described=MESSAGE), 1, 2**16),
        "the conversation so far",
    )
    max_completion_tokens: int | None = wire(
        Integer(1), "the newer name of max_tokens", default=None
    )
    logprobs: bool = wire(Flag(), "give the probabilities of the committed tokens", default=False)
    top_logprobs: int | None = wire(
        Integer(0, 1), "beside the committed token none is known", default=None
    )
    tools: list[Mapping[str, Any]] = wire(
        FUNCTION_TOOLS, "what the model may call, if its chat template knows tools", default=()
    )
    tool_choice: str | None = wire(
        Only(("none", "auto"), f"{CANNOT_FORCE}auto or none"),
        "whether tools are offered",
        default=None,
    )
    chat_template_kwargs: TemplateOptions = wire(
        _TEMPLATE_OPTIONS, "of the chat template", default=TemplateOptions()
    )
    response_format: Any = wire(
        Only(({"type": "text"},), "for answers of a given form use /v1/choose or /v1/fill"),
        "not done here",
        default=None,
    )
    parallel_tool_calls: Any = wire(
        Only((True,), f"{CANNOT_LIMIT}true"), "whether several calls may come", default=None
    )
    metadata: Any = wire(Ignored(), "the client's own", default=None)
    store: Any = wire(Only((False,), "nothing is stored here"), "not done here", default=None)
    service_tier: Any = wire(Ignored(), "there is one", default=None)
    safety_identifier: Any = wire(Ignored(), "the client's own", default=None)
    prompt_cache_key: Any = wire(Ignored(), "the client's own", default=None)

    @property
    def said(self) -> Conversation:
        """The conversation, and what is offered in it."""
        tools = () if self.tool_choice == "none" else self.tools
        return Conversation(self.messages, tools, self.chat_template_kwargs.enable_thinking)

    @property
    def most_tokens(self) -> int | None:
        """Most tokens of an answer."""
        newer = self.max_completion_tokens
        return self.max_tokens if newer is None else newer
