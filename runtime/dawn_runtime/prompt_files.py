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
    try:
        content = read_stream(path, MAX_BYTES)
    except FileNotFoundError as error:
        raise PromptError(f"{path}: no such file; give one JSON object a line") from error
    except (OSError, ValueError) as error:
        raise PromptError(f"{path}: cannot read prompts: {reason_of(error)}") from error
    # Not splitlines(): a JSON string may hold other line separators of Unicode as they are.
    numbered = enumerate(content.split(b"\n"), start=1)
    found = [
        _read(number, line, f"{path} line {number}") for number, line in numbered if line.strip()
    ]
    if not found:
        raise PromptError(f"{path}: the file holds no prompts; expected one JSON object a line")
    return found


def _read(number: int, line: bytes, where: str) -> PromptLine:
    try:
        entry = parse_json(text_of(line))
    except ValueError as error:
        raise PromptError(f"{where}: not valid JSON ({error}); give one object a line") from error
    if not isinstance(entry, dict):
        raise PromptError(f"{where}: {_EXPECTED}")
    for name in (*_KINDS, _TEMPLATE):
        if not is_unicode(entry.get(name)):
            raise PromptError(
                f"{where}: {name} holds half a character (a lone surrogate), which is no Unicode "
                "text; write the whole character"
            )
    return PromptLine(number, _prompt(entry, where), entry)


def _prompt(entry: dict[str, Any], where: str) -> Prompt | Filling:
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
