"""What callers give as prompts, made into few types before anything looks inside.

Any iterable will do where a list is expected, also one that can be gone through only once, so each
is gone through exactly once, here. What only happens to be iterable is refused: a text is no list
of characters, bytes are no ids, an object is no list of its keys.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dawn_runtime.checks import check_flag, is_integer, shown
from dawn_runtime.errors import PromptError
from dawn_runtime.native import native_errors

Message = Mapping[str, Any]
"""One turn: `{"role": "user", "content": "..."}`; roles are up to the template."""


@dataclass(frozen=True, slots=True, eq=False)
class Conversation:
    """Messages of a chat, and what else a chat template may be told.

    A template that does not know a variable leaves it out without a word.

    Attributes:
        messages: The turns so far; a tuple whatever iterable was given.
        tools: What the model may call, each an object as OpenAI's API describes it; a tuple.
        enable_thinking: Whether the model is to reason before it answers; None is up to the
            template.

    Raises:
        PromptError: The messages are none, or the tools no list of objects.
        OptionError: `enable_thinking` is something else.
    """

    messages: Iterable[Message]
    tools: Iterable[Mapping[str, Any]] = ()
    enable_thinking: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", as_messages(self.messages))
        object.__setattr__(self, "tools", as_tools(self.tools))
        if self.enable_thinking is not None:
            check_flag("conversation", "enable_thinking", self.enable_thinking)


Checked = str | tuple[Message, ...] | Conversation | NDArray[np.integer[Any]]
"""A prompt of known type: text, messages with role and content, or a list of integers."""

MOST_ITEMS = 2**20
"""More messages, ids or prompts than any context holds; an iterable may have no end."""

_TEXT_PART = "text"
_BYTES = (bytes, bytearray)
_NO_LISTS = (str, *_BYTES, memoryview, Mapping, set, frozenset)
_INT64 = np.iinfo(np.int64)


def listed(value: object, name: str, expected: str) -> list[Any]:
    """Goes through an iterable once and returns its items.

    Args:
        value: What was given.
        name: What it is, for the message, such as `messages`.
        expected: What it should be, after "expected".

    Raises:
        PromptError: It is no list of anything, or has no end.
    """
    iterator = None if isinstance(value, _NO_LISTS) else _iterator(value)
    if iterator is None:
        raise PromptError(f"{name} is {shown(value)}; expected {expected}")
    items = list(islice(iterator, MOST_ITEMS + 1))
    if len(items) > MOST_ITEMS:
        raise PromptError(f"{name} has more than {MOST_ITEMS} items; expected {expected}")
    return items


def _iterator(value: object) -> Iterator[Any] | None:
    try:
        found: Iterator[Any] = iter(value)  # type: ignore[call-overload]  # this is the check
    except TypeError:
        return None
    return found


def as_prompt(value: object) -> Checked:
    """Finds out what a prompt is: a text, a conversation, messages or ids.

    Raises:
        PromptError: It is none of them, or what it is it is not wholly.
    """
    if isinstance(value, (str, Conversation)):
        return value
    if _is_buffer(value):
        return as_ids(value)
    items = listed(value, "the prompt", "a text, a list of messages or a list of token ids")
    if items and all(isinstance(item, str) for item in items):
        raise PromptError(
            f"the prompt is a list of {len(items)} texts; give one text, or several prompts to "
            "generate_batch"
        )
    if items and isinstance(items[0], Mapping):
        return as_messages(items)
    return as_ids(items)


def as_text(value: object, name: str = "the prompt") -> str:
    """Returns a text.

    Raises:
        PromptError: It is no text, or none that can be encoded.
    """
    if not isinstance(value, str):
        raise PromptError(f"{name} is {shown(value)}; expected a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"{name} is not Unicode text: character {error.start} is {value[error.start]!r}, half "
            "of a surrogate pair; decode its bytes as UTF-8"
        ) from error
    return value


def as_messages(value: object) -> tuple[Message, ...]:
    """Returns the messages of a chat.

    Raises:
        PromptError: They are no list of messages with a role and content of a kind that a model of
            text can read, or there are none.
    """
    messages = as_mappings(value)
    if not messages:
        raise PromptError("the prompt is empty; give at least one message")
    for number, message in enumerate(messages):
        _check_message(f"messages[{number}]", message)
    return messages


def as_mappings(value: object) -> tuple[Message, ...]:
    """Returns messages whatever fields they have, which is up to a template.

    Raises:
        PromptError: They are no list of objects.
    """
    example = "a list of messages such as {'role': 'user', 'content': 'hello'}"
    return _objects(value, "messages", example)


def as_tools(value: object) -> tuple[Mapping[str, Any], ...]:
    """Returns what a model may call, whatever fields it has, which is up to a template.

    Raises:
        PromptError: They are no list of objects.
    """
    example = "a list of objects such as {'type': 'function', 'function': {'name': 'add'}}"
    return _objects(value, "tools", example)


def _objects(value: object, name: str, expected: str) -> tuple[Mapping[str, Any], ...]:
    """Goes through a list of objects; arguments as for `listed`."""
    items = listed(value, name, expected)
    for number, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise PromptError(f"{name}[{number}] is {shown(item)}; expected {expected}")
    return tuple(items)


def _check_message(where: str, message: Message) -> None:
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise PromptError(f"{where} has the role {shown(role)}; expected a text such as 'user'")
    content = message.get("content")
    if content is None:
        if set(message) <= {"role", "content"}:
            raise PromptError(f"{where} has no content; give the text of the message as 'content'")
    elif isinstance(content, Sequence) and not isinstance(content, (str, *_BYTES)):
        _check_parts(where, content)
    elif not isinstance(content, (str, Mapping)):
        raise PromptError(f"{where} has the content {shown(content)}; expected a text")


def _check_parts(where: str, parts: Sequence[Any]) -> None:
    """Refuses parts that are not text: a template would leave them out without a word."""
    for part in parts:
        kind, text = (
            (part.get("type"), part.get(_TEXT_PART)) if isinstance(part, Mapping) else (None, None)
        )
        if not isinstance(kind, str) or kind != _TEXT_PART or not isinstance(text, str):
            raise PromptError(
                f"{where} has the part {shown(part)}; this model reads text alone, so expected "
                "parts such as {'type': 'text', 'text': 'hello'}"
            )


def as_ids(value: object) -> NDArray[np.integer[Any]]:
    """Returns token ids as a one-dimensional array of integers of its own.

    Raises:
        PromptError: They are no list of integers, or there are none.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise PromptError(
            "input_ids are a masked array of NumPy, whose missing entries are no ids; give the ids "
            "alone"
        )
    if _is_buffer(value):
        with native_errors(lambda reason: PromptError(f"input_ids cannot be read: {reason}")):
            array = np.array(value)
    else:
        items = listed(value, "input_ids", "a list of integers")
        array = _integers(items) if all(map(is_integer, items)) else _described(items)
    if array.ndim == 1 and not array.size:
        raise PromptError("the prompt is empty; give at least one token")
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise PromptError(
            f"input_ids are {array.dtype} of shape {array.shape}; expected a list of integers"
        )
    return array


def _is_buffer(value: object) -> bool:
    """Tells arrays of NumPy and whatever else can become one: tensors, `array.array`, buffers."""
    if isinstance(value, memoryview):
        return value.format not in ("B", "b", "c")  # bytes
    if isinstance(value, (*_BYTES, type)):
        return False
    return hasattr(value, "__array__") or type(value).__module__ == "array"


def _integers(items: list[Any]) -> NDArray[np.int64]:
    for item in items:
        if not _INT64.min <= item <= _INT64.max:
            raise PromptError(f"the prompt holds id {shown(item)}, which no vocabulary has")
    return np.array(items, dtype=np.int64)


def _described(items: list[Any]) -> NDArray[Any]:
    """Makes an array of what is no list of integers, so that its type and shape can be told."""
    array = None
    with suppress(Exception):  # lists of different lengths, objects that are no numbers
        array = np.array(items)
    if array is None or (array.dtype.kind in "iuOb" and array.ndim == 1):
        odd = next(item for item in items if not is_integer(item))
        raise PromptError(f"input_ids hold {shown(odd)}; expected a list of integers")
    return array
