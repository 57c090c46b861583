"""Prompts from a JSON Lines file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dawn_runtime.errors import PromptError
from dawn_runtime.prompts import Filling, Prompt, located

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
        path: Each object has exactly one of `prompt` (text), `messages` (list of objects) and
            `input_ids` (list of integers), or a `template` (list of texts and hole lengths) behind
            at most one of them. Other fields are the caller's own.

    Raises:
        PromptError: The file cannot be read, holds no prompt, or a line is malformed.
    """
    try:
        # Not splitlines(): a JSON string may hold other line separators of Unicode as they are.
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise PromptError(f"{path}: no such file; give one JSON object a line") from error
    except OSError as error:  # whose own text has the path too
        raise PromptError(f"{path}: cannot read prompts: {error.strerror}") from error
    except ValueError as error:
        raise PromptError(f"{path}: cannot read prompts: {error}") from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise PromptError(f"{path}: the file holds no prompts; expected one JSON object a line")
    return [_read(number, line, f"{path} line {number}") for number, line in numbered]


def _read(number: int, line: str, where: str) -> PromptLine:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise PromptError(f"{where}: not valid JSON ({error})") from error
    if not isinstance(entry, dict):
        raise PromptError(f"{where}: {_EXPECTED}")
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
