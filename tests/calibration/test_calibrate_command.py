"""The command as a whole: its sub-commands and how it is misused."""

import subprocess
import sys
from pathlib import Path

import pytest

from dawn_calibration.cli import COMMANDS, main


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"dawn-calibrate {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["rangs"], "invalid choice: 'rangs'"),
        (["ranges", "--model", "x", "--output", "y"], "one of the arguments --data --tasks"),
        (["ranges", "--model", "x", "--output", "no/where", "--tasks"], "folder does not exist"),
        (["ranges", "--model", "x", "--output", "y", "--tasks", "sorts"], "did you mean 'sort'?"),
        (["ranges", "--model", "x", "--output", "y", "--tasks", "--seed", "-1"], "--seed"),
        (["thresholds", "x"], "give --data FILE.jsonl or --tasks"),
        (["thresholds", "x", "--tasks", "--agreement", "2"], "expected a share from 0 to 1"),
        (["thresholds", "x", "--data", "y", "--checker", "tasks"], "got 'tasks' for --data"),
        (["thresholds", "x", "--tasks", "--checker", "a.py"], "got 'a.py' for --tasks"),
        (["compare", "x", "y", "--data", "y", "--checker", "no-such"], "no program 'no-such'"),
        (["thresholds", "x", "--tasks", "--policy", "one-per-step"], "invalid choice"),
        (["compare", "x", "--tasks"], "required: B"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize("arguments", [["thresholds"], ["compare", "nowhere"]])
def test_an_artifact_that_is_not_there_is_status_1(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, str(tmp_path / "nowhere"), "--tasks"]) == 1
    assert "no such folder" in capsys.readouterr().err


def test_a_model_that_is_not_there_is_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "calibration.json")
    assert main(["ranges", "--model", str(tmp_path / "x"), "--output", output, "--tasks"]) == 1
    assert "no such folder" in capsys.readouterr().err


def test_commands_load_what_is_heavy_only_when_it_is_needed() -> None:
    code = (
        "import sys, dawn_calibration.cli; print(sorted({'torch', 'matplotlib'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_pictures_name_the_extra_that_draws_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    flags = ["--tasks", "--output", str(tmp_path / "calibration.json")]
    assert main(["ranges", "--model", str(tmp_path), *flags]) == 1
    assert "pip install 'dawn-edge[calibrate]'" in capsys.readouterr().err
