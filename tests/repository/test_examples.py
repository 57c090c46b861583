"""The programs of examples/ do what their first lines say, with a shipped model."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
MODEL = ROOT / "models" / "tiny-dream-int8"


def run(name: str, *arguments: str, said: str = "") -> str:
    command = [sys.executable, str(ROOT / "examples" / name), str(MODEL), *arguments]
    return subprocess.run(
        command, input=said, check=True, capture_output=True, text=True, timeout=120
    ).stdout


def test_the_chat_answers_line_by_line() -> None:
    assert run("chat.py", said="Sort ascending: 47 61 56 21\n").startswith("21 47 56 61\n")


def test_the_frame_is_filled() -> None:
    asked = "Write the record as JSON: In London lives a driver named Ann, aged 30."
    expected = {"name": "Ann", "age": 30, "city": "London", "job": "driver"}
    assert json.loads(run("fill_json.py", asked)) == expected


def test_the_assistant_answers_in_time_or_shows_what_there_is() -> None:
    lines = run("assistant.py").splitlines()
    assert lines[:1] + lines[2:3] == ["21 47 56 61 91", "dog hat"]
    assert lines[1].startswith("cut: ")
    assert len(lines) == 4


def test_every_example_is_tried_here() -> None:
    tried = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{path.name}"' in tried for path in (ROOT / "examples").glob("*.py"))
