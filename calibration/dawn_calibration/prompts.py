"""Prompts to calibrate on: a file of the user's, or the tasks a program makes and checks."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dawn_calibration.tasks import TASKS, Item, Split, items
from dawn_runtime.arrays import IntArray
from dawn_runtime.checks import check_integer, check_kind, check_path
from dawn_runtime.errors import OptionError, PromptError
from dawn_runtime.given import listed
from dawn_runtime.prompt_files import read_prompts
from dawn_runtime.prompts import Filling, Prompt
from dawn_runtime.registry import unknown
from dawn_runtime.wording import counted

MOST_ITEMS: Final = 10_000
"""Of one task; a million would be drawn for minutes and decoded for days."""

_MOSTLY_ALIKE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt and where it came from.

    Attributes:
        prompt: Text, messages or token ids.
        where: Its place, for messages.
        item: What its answer can be judged by; None if it is from no task.
        index: Its number among the prompts of its file, counted from 0.
        fields: Its line of the file; empty if it is from a task.
    """

    prompt: Prompt
    where: str
    item: Item | None = None
    index: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """What it is counted under: its task, or `data`."""
        return "data" if self.item is None else self.item.task

    def is_right(self, text: str | None) -> bool:
        """Judges an answer.

        Raises:
            OptionError: It is from no task.
        """
        if self.item is None:
            raise OptionError(f"{self.where}: only questions of --tasks can be judged")
        return TASKS[self.item.task].check(self.item, text or "").correct


def questions_of_file(path: str | Path) -> list[Question]:
    """Reads a JSON Lines file as `dawn-generate --input` does.

    Raises:
        PromptError: The file cannot be read, holds no prompt, or a line is malformed or a template.
        OptionError: The path is none.
    """
    questions, path = [], check_path("prompts", "path", path)
    for index, line in enumerate(read_prompts(path)):
        where = f"{path} line {line.number}"
        if isinstance(line.prompt, Filling):
            raise PromptError(f"{where}: is a template; give prompts, messages or input_ids")
        questions.append(Question(line.prompt, where, index=index, fields=line.fields))
    return questions


def questions_of_tasks(names: Iterable[str], count: int, split: Split, seed: int) -> list[Question]:
    """Draws items of tasks as chat messages, one of each task in turn.

    Args:
        names: Tasks, keys of `TASKS`.
        count: Items of each, 1 to `MOST_ITEMS`; some may repeat, see `repeated`.
        split: Side of the items.
        seed: Another seed draws others.

    Raises:
        OptionError: There is no task of that name, or it is named twice, or the number is out of
            range.
        PromptError: The names are no list; a text is none.
    """
    check_integer("tasks", "items", count, minimum=1, maximum=MOST_ITEMS)
    columns: dict[str, list[Question]] = {}
    for name in listed(names, "tasks", "a list of names of tasks"):
        check_kind("tasks", "name", name, str, f"one of {', '.join(TASKS)}")
        if name not in TASKS:
            raise OptionError(unknown("task", name, tuple(TASKS)))
        if name in columns:
            raise OptionError(f"task {name} is named twice; name it once")
        drawn = itertools.islice(items(TASKS[name], split, seed), count)
        columns[name] = [_question(item, number) for number, item in enumerate(drawn, start=1)]
    return [question for row in zip(*columns.values(), strict=True) for question in row]


def repeated(questions: Iterable[Question]) -> list[str]:
    """Says of which tasks there are so many items that most of them are of the same problems.

    Args:
        questions: What was drawn; prompts of files do not count.
    """
    keys: dict[str, list[str]] = {}
    for question in questions:
        if question.item is not None:
            keys.setdefault(question.item.task, []).append(question.item.key)
    return [
        f"{counted(len(drawn), 'item')} of {task} are of {counted(len({*drawn}), 'problem')} "
        "alone, there are no more; fewer items tell as much"
        for task, drawn in keys.items()
        if len({*drawn}) < _MOSTLY_ALIKE * len(drawn)
    ]


def listed_questions(questions: Iterable[Question]) -> list[Question]:
    """Goes through prompts once, whatever kind of iterable they are, and returns them.

    Raises:
        PromptError: There are none, or something else is among them.
    """
    found = listed(questions, "the prompts", "a list of Questions")
    if not found:
        raise PromptError("there are no prompts; give at least one")
    for question in found:
        if not isinstance(question, Question):
            raise PromptError(f"got {question!r:.80} among the prompts; expected Questions")
    return found


def encode_all(
    encode: Callable[[Prompt], IntArray], questions: Iterable[Question]
) -> list[IntArray]:
    """Returns the ids of all prompts, so that a bad one is found before any work.

    Args:
        encode: Reads one prompt, such as `Decoder.encode`.
        questions: The prompts.

    Raises:
        PromptError: A prompt cannot be decoded; the message says where it is.
    """
    return [_encoded(encode, question) for question in questions]


def data_sha256(questions: Iterable[Question]) -> str:
    """Hash of the prompts in their order, 64 hex digits; where they came from does not count."""
    digest = hashlib.sha256()
    for question in questions:
        text = json.dumps(question.prompt, ensure_ascii=False, sort_keys=True, default=_plain)
        digest.update(text.encode() + b"\n")
    return digest.hexdigest()


def _encoded(encode: Callable[[Prompt], IntArray], question: Question) -> IntArray:
    try:
        return encode(question.prompt)
    except PromptError as error:
        raise PromptError(f"{question.where}: {error}") from error


def _question(item: Item, number: int) -> Question:
    return Question(
        [{"role": "user", "content": item.prompt}], f"task {item.task} item {number}", item
    )


def _plain(value: Any) -> Any:
    """Arrays of ids as lists."""
    return value.tolist()
