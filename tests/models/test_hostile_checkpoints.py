"""Hostile and broken checkpoints: one clear error each, in bounded memory, nothing written."""

import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.hostile import CASES
from support.hostile_export import build

Outcomes = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What exporting each of them came to; the first worker that asks lets it be tried."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    found = shared / "hostile.jsonl"
    with (shared / "hostile.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            found.write_text(export_all_of_them(tmp_path_factory.mktemp("hostile")))
    entries = [json.loads(line) for line in found.read_text().splitlines()]
    return {entry["name"]: entry for entry in entries}


def export_all_of_them(root: Path) -> str:
    """Runs `support.hostile_export` over all cases, in one process with limited memory."""
    build(root)
    done = subprocess.run(
        [sys.executable, "-m", "support.hostile_export", str(root)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", ["0-sound", "0-sound-sharded"])
def test_what_they_were_before_is_sound(name: str, outcomes: Outcomes) -> None:
    assert outcomes[name] == {"name": name, "ours": False, "message": "", "left": ["artifact"]}


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_checkpoint_is_one_clear_error(name: str, outcomes: Outcomes) -> None:
    found = outcomes[name]
    message = found["message"]
    assert found["ours"], message
    assert re.search(CASES[name].message, message), message
    assert "\n" not in message
    assert len(message) < 1000


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_checkpoint_leaves_nothing_behind(name: str, outcomes: Outcomes) -> None:
    assert outcomes[name]["left"] == []
