"""Prompts from a JSON Lines file."""

import json
from pathlib import Path
from typing import Any

from dawn_runtime.errors import PromptError
from dawn_runtime.prompts import Prompt

_KINDS = {"prompt": str, "messages": list, "input_ids": list}


def read_prompts(path: Path) -> list[tuple[int, Prompt]]:
    """Reads a file with one JSON object a line; empty lines are skipped.

    Args:
        path: Each object has exactly one of `prompt` (text), `messages` (list of objects) and
            `input_ids` (list of integers).

    Returns:
        Line number, counted from 1, and prompt.

    Raises:
        PromptError: The file cannot be read, holds no prompt, or a line is malformed.
    """
    try:
        # Not splitlines(): a JSON string may hold other line separators of Unicode as they are.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise PromptError(f"{path}: cannot read prompts: {error}") from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise PromptError(f"{path}: the file holds no prompts; expected one JSON object a line")
    return [(number, _prompt(line, f"{path} line {number}")) for number, line in numbered]


def _prompt(line: str, where: str) -> Prompt:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise PromptError(f"{where}: not valid JSON ({error})") from error
    given = [name for name in _KINDS if isinstance(entry, dict) and name in entry]
    if len(given) != 1:
        raise PromptError(f"{where}: expected an object with exactly one of {', '.join(_KINDS)}")
    value: Any = entry[given[0]]
    if not isinstance(value, _KINDS[given[0]]):
        raise PromptError(f"{where}: {given[0]} must be a {_KINDS[given[0]].__name__}")
    if given[0] == "messages" and not all(isinstance(message, dict) for message in value):
        raise PromptError(f"{where}: messages must be objects with role and content")
    prompt: Prompt = value
    return prompt
