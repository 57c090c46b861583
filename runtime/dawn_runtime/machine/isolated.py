"""Running a module in a process of its own: a native library that crashes takes only that along."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_S = 120
"""Longest wait for one answer; TensorRT takes tens of seconds to start on a small board."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a child process said.

    Attributes:
        document: The JSON object it printed, empty if it printed none.
        log: What it wrote on standard error, and how it ended if it ended badly.
    """

    document: dict[str, Any]
    log: str


def ask(module: str, *arguments: str) -> Answer:
    """Runs `python -m module arguments` and reads the JSON object it prints.

    Args:
        module: Full name of a module of this package.
        *arguments: Its command line.
    """
    # The child shall import this very package, wherever it was imported from.
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONPATH": path},
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer({}, f"no answer within {TIMEOUT_S} s")
    return read_answer(done.returncode, done.stdout, done.stderr)


def read_answer(status: int, output: str, errors: str) -> Answer:
    """Reads what a child left: the last line of its output is the document.

    Args:
        status: Exit status; negative where a signal ended it.
        output: Its standard output.
        errors: Its standard error.
    """
    if status:
        ended = f"ended by signal {-status}" if status < 0 else f"exit status {status}"
        return Answer({}, f"{errors.strip()}\n{ended}".strip())
    lines = output.strip().splitlines()
    try:
        document = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return Answer({}, f"not JSON: {lines[-1]:.200}")
    return Answer(document, errors.strip())
