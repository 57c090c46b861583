"""The public interface for type checkers and for those who read hints at run time."""

import inspect
import os
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dawn_runtime
from dawn_runtime import Result, Settings, asynchronous

ROOT = Path(__file__).parent.parent.parent
APP = ROOT / "examples" / "assistant.py"
SOURCES = [str(ROOT / folder) for folder in ("runtime",)]


def public() -> Iterator[Callable[..., Any]]:
    """All functions and classes that users name, and the methods of the classes."""
    named = [getattr(dawn_runtime, name) for name in dawn_runtime.__all__]
    for one in [*named, asynchronous.AsyncDecoder, asynchronous.AsyncStream]:
        if inspect.isclass(one):
            yield one
            for name, member in vars(one).items():
                function = getattr(member, "fget", None) or getattr(member, "__func__", member)
                if inspect.isfunction(function) and not name.startswith("_"):
                    yield function
        elif inspect.isfunction(one):
            yield one


@pytest.mark.parametrize("one", [*public()], ids=lambda one: one.__qualname__)
def test_hints_are_there_at_run_time(one: Any) -> None:
    typing.get_type_hints(one)


def test_an_answer_has_a_text_that_is_a_text() -> None:
    assert typing.get_type_hints(Result.text.fget)["return"] is str
    hints = typing.get_type_hints(dawn_runtime.Decoder.generate)
    assert typing.get_args(hints["settings"]) == (Settings,)


def test_an_application_passes_the_strictest_checks_without_an_assert(tmp_path: Path) -> None:
    text = APP.read_text()
    assert len(text.splitlines()) >= 60
    assert "assert" not in text
    assert "ignore" not in text
    assert "cast" not in text
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--python-version", "3.10"),
            *("--cache-dir", str(tmp_path), "--config-file", os.devnull, str(APP)),
        ],
        env={**os.environ, "MYPYPATH": os.pathsep.join(SOURCES)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
