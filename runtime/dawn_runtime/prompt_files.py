"""Prompts from a JSON Lines file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dawn_runtime._json import is_unicode, parse_json
from dawn_runtime.errors import PromptError
from dawn_runtime.files import read_stream, reason_of, text_of
from dawn_runtime.prompts import Filling, Prompt, located

MAX_BYTES: Final = 256 * 2**20
"""Largest file of prompts; all of it, and all answers, are held in memory."""

_KINDS = {"prompt": str, "messages": list, "input_ids": list}
_TEMPLATE = "template"
_EXPECTED = (
    f"expected an object with exactly one of {', '.join(_KINDS)}, or a {_TEMPLATE} behind at most "
    "one of them"
)


@dataclass(frozen=True, slots=True, eq=False)
class PromptLine:
    """A line of a file of prompts.

    Attributes:
        number: Of the line, counted from 1.
        prompt: What is to be decoded.
        fields: The whole object, the caller's own fields among them.
    """

    number: int
    prompt: Prompt | Filling
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A line of a file of prompts, right or wrong.

    Attributes:
        number: Of the line, counted from 1.
        content: Its bytes, without the end of the line.
        fields: The whole object; empty where the line holds none.
        prompt: What is to be decoded; None if the line is malformed.
        error: What is wrong with it, in one line that names file and line; None if nothing is.
    """

    number: int
    content: bytes
    fields: Mapping[str, Any]
    prompt: Prompt | Filling | None
    error: PromptError | None

    def own_fields(self) -> dict[str, Any]:
        """Returns the caller's own fields, those that say what is to be decoded left out."""
        return {n: value for n, value in self.fields.items() if n not in (*_KINDS, _TEMPLATE)}


def read_prompts(path: Path) -> list[PromptLine]:
    """Reads a file with one JSON object a line; empty lines are skipped.

    Args:
        path: A file, or a pipe such as `/dev/stdin`, which is read to its end. Each object has
            exactly one of `prompt` (text), `messages` (list of objects) and `input_ids` (list of
            integers), or a `template` (list of texts and hole lengths) behind at most one of them.
            Other fields are the caller's own.

    Raises:
        PromptError: The file cannot be read, is too large, holds no prompt, or a line is malformed.
    """
    found = []
    for entry in read_entries(path):
        if entry.error is not None:
            raise entry.error
        assert entry.prompt is not None
        found.append(PromptLine(entry.number, entry.prompt, entry.fields))
    return found


def read_entries(path: Path) -> list[Entry]:
    """Reads the same line by line; one that is malformed does not hide the others.

    Args:
        path: As for `read_prompts`.

    Raises:
        PromptError: The file cannot be read, is too large, or holds no line that is right.
    """
    try:
        content = read_stream(path, MAX_BYTES)
    except FileNotFoundError as error:
        raise PromptError(f"{path}: no such file; give one JSON object a line") from error
    except (OSError, ValueError) as error:
        raise PromptError(f"{path}: cannot read prompts: {reason_of(error)}") from error
    # Not splitlines(): a JSON string may hold other line separators of Unicode as they are.
    numbered = enumerate(content.split(b"\n"), start=1)
    found = [read_entry(number, line, path) for number, line in numbered if line.strip()]
    if not found:
        raise PromptError(f"{path}: the file holds no prompts; expected one JSON object a line")
    errors = [entry.error for entry in found if entry.error is not None]
    if len(errors) == len(found):  # it is another file than was meant
        raise errors[0]
    return found


def read_entry(number: int, content: bytes, path: Path) -> Entry:
    """Reads one line, right or wrong.

    Args:
        number: Of the line, counted from 1.
        content: Its bytes, without the end of the line.
        path: Of its file, for messages.
    """
    where, fields = f"{path} line {number}", dict[str, Any]()
    try:
        fields = _fields(content, where)
        return Entry(number, content, fields, _prompt(fields, where), None)
    except PromptError as error:
        return Entry(number, content, fields, None, error)


def _fields(line: bytes, where: str) -> dict[str, Any]:
    try:
        entry = parse_json(text_of(line))
    except ValueError as error:
        raise PromptError(f"{where}: not valid JSON ({error}); give one object a line") from error
    if not isinstance(entry, dict):
        raise PromptError(f"{where}: {_EXPECTED}")
    return entry


def _prompt(entry: dict[str, Any], where: str) -> Prompt | Filling:
    for name in (*_KINDS, _TEMPLATE):
        if not is_unicode(entry.get(name)):
            raise PromptError(
                f"{where}: {name} holds half a character (a lone surrogate), which is no Unicode "
                "text; write the whole character"
            )
    if _TEMPLATE not in entry:
        return _given(entry, where)
    if not isinstance(entry[_TEMPLATE], list):
        raise PromptError(f"{where}: {_TEMPLATE} must be a list of texts and lengths of holes")
    before = _given(entry, where) if any(name in entry for name in _KINDS) else None
    with located(f"{where}: "):
        return Filling(entry[_TEMPLATE], before)


def _given(entry: dict[str, Any], where: str) -> Prompt:
    given = [name for name in _KINDS if name in entry]
    if len(given) != 1:
        raise PromptError(f"{where}: {_EXPECTED}")
    value = entry[given[0]]
    if not isinstance(value, _KINDS[given[0]]):
        raise PromptError(f"{where}: {given[0]} must be a {_KINDS[given[0]].__name__}")
    if given[0] == "messages" and not all(isinstance(message, dict) for message in value):
        raise PromptError(f"{where}: messages must be objects with role and content")
    prompt: Prompt = value
    return prompt
