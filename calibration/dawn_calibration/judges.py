"""Who says which answers are right: the tasks themselves, or a program of the user's.

A program is started once for each set of answers, without a shell. It reads one JSON object a line,
the fields of the prompt's line in `--data` and besides::

    index   which prompt of the file it is, counted from 0
    text    the answer

and prints ``true`` or ``false`` for each, in the same order. Anything else is a `CheckerError`.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dawn_calibration.errors import CheckerError
from dawn_calibration.prompts import Question
from dawn_runtime import Result
from dawn_runtime.checks import check_kind
from dawn_runtime.errors import OptionError, PromptError
from dawn_runtime.wording import counted

Judge = Callable[[Sequence[Question], Sequence[Result]], list[bool]]
"""Says of every answer whether it is right."""

TASKS_JUDGE: Final = "tasks"
"""What `--checker` calls the checkers of the tasks."""

_VERDICTS: Final = {"true": True, "false": False}
_OWN_FIELDS: Final = ("index", "text")


def judge_tasks(questions: Sequence[Question], results: Sequence[Result]) -> list[bool]:
    """Asks the tasks that the questions come from.

    Raises:
        OptionError: A question comes from no task.
    """
    pairs = zip(questions, results, strict=True)
    return [question.is_right(result.written) for question, result in pairs]


@dataclass(frozen=True, slots=True)
class Program:
    """A program that judges answers; see the module.

    Attributes:
        command: The program and its arguments.
    """

    command: tuple[str, ...]

    @classmethod
    def parse(cls, line: str) -> Program:
        """Splits a command line as a shell does, and looks for the program.

        Raises:
            OptionError: The line cannot be split, is empty, or its program cannot be started.
        """
        check_kind("checker", "command", line, str, "one line, as for a shell")
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise OptionError(f"--checker {line!r}: {error}; quote as in a shell") from error
        if not words:
            raise OptionError(
                f"--checker is empty; give a command such as 'python3 check.py', or {TASKS_JUDGE}"
            )
        if shutil.which(words[0]) is None:
            raise OptionError(f"--checker: {_no_program(words[0])}")
        return cls(tuple(words))

    def __call__(self, questions: Sequence[Question], results: Sequence[Result]) -> list[bool]:
        """Starts the program on a set of answers.

        Raises:
            CheckerError: It cannot be started, fails, or prints something else than verdicts; or
                the answers have no text.
        """
        lines = [_line(*pair) for pair in zip(questions, results, strict=True)]
        words = self._run("".join(lines)).splitlines()
        if len(words) != len(lines):
            raise CheckerError(
                f"{self} printed {counted(len(words), 'line')} for "
                f"{counted(len(lines), 'answer')}; it must print true or false for each line that "
                "it reads"
            )
        for word, question in zip(words, questions, strict=True):
            if word.strip() not in _VERDICTS:
                raise CheckerError(
                    f"{self} printed {word!r:.60} for {question.where}; expected true or false"
                )
        return [_VERDICTS[word.strip()] for word in words]

    def __str__(self) -> str:
        """Name for messages."""
        return f"checker {shlex.join(self.command)!r}"

    def _run(self, text: str) -> str:
        """Returns what the program prints when it reads a text."""
        try:
            done = subprocess.run(
                self.command, input=text.encode(), capture_output=True, check=False
            )
        except OSError as error:
            raise CheckerError(f"{self} cannot be started: {error}") from error
        if done.returncode:
            code, said = done.returncode, done.stderr.decode(errors="replace").strip().splitlines()
            how = f"with status {code}" if code > 0 else f"by signal {-code}"
            raise CheckerError(f"{self} ended {how}: {said[-1] if said else 'it gave no reason'}")
        return done.stdout.decode(errors="replace")


def check_fields(questions: Iterable[Question]) -> None:
    """Refuses prompts whose lines have fields that a program gets something else in.

    Raises:
        PromptError: A line has such a field.
    """
    for question in questions:
        for name in _OWN_FIELDS:
            if name in question.fields:
                raise PromptError(
                    f"{question.where}: has a field {name!r}, in which --checker gets "
                    f"{'the answer' if name == 'text' else 'the number of the prompt'}; rename it"
                )


def _no_program(word: str) -> str:
    """Says why a word is no program, and what to give instead."""
    if not Path(word).is_file():
        return (
            f"found no program {word!r}; give its path, or the interpreter that runs it, such as "
            "'python3 check.py'"
        )
    if os.access(word, os.X_OK):  # beside us, where programs without a path are not looked for
        return f"found no program {word!r} on the PATH; give its path, ./{word}"
    interpreted = shlex.join(["python3", word])
    return (
        f"{word} is not executable; give the interpreter that runs it too, such as "
        f"{interpreted!r}, or make it executable"
    )


def _line(question: Question, result: Result) -> str:
    if result.written is None:
        raise CheckerError(
            "answers have no text to be judged, because the artifact has no tokenizer; export a "
            "checkpoint that has a tokenizer.json"
        )
    return json.dumps({"index": question.index, "text": result.text, **question.fields}) + "\n"
