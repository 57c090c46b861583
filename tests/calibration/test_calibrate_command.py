"""The command as a whole: its sub-commands and how it is misused."""

import subprocess
import sys
from pathlib import Path

import pytest

from dawn_calibration.cli import COMMANDS, main
from dawn_runtime.wording import counted


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"dawn-calibrate {name}" in capsys.readouterr().out


RANGES = ["--model", "x", "--tasks"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["rangs"], "invalid choice: 'rangs'"),
        (["ranges", "--model", "x", "--output", "y"], "one of the arguments --data --tasks"),
        (["ranges", "--model", "x", "--output", "no/where", "--tasks"], "folder does not exist"),
        (["ranges", *RANGES, "--output", "."], "--output .: is a folder; give the name of a file"),
        (["ranges", *RANGES, "--output", "/"], "--output /: is a folder"),
        (["ranges", *RANGES, "--output", "y", "--state", "."], "--state .: is a folder"),
        (["ranges", *RANGES, "--output", "y", "--state", "no/s"], "--state no/s: the folder does"),
        (["ranges", *RANGES, "--output", "y.md"], "expected four files: let --output end in .json"),
        (["ranges", *RANGES, "--output", "y", "--state", "./y"], "expected four files"),
        (
            ["ranges", *RANGES, "--output", "y", "--percentile", "99"],
            "--percentile: goes with --clip percentile; got --clip max",
        ),
        (
            ["ranges", *RANGES, "--output", "y", "--clip", "percentile", "--percentile", "5"],
            "clip: percentile is 5.0; expected a number from 50 to 100",
        ),
        (
            ["ranges", "--model", "x", "--output", "y", "--data", "d", "--items", "4"],
            "--items: goes",
        ),
        (["compare", "x", "y", "--data", "d", "--items", "4"], "--items: goes with --tasks; got"),
        (["thresholds", "x", "--tasks", "--held-out", "0.3"], "--held-out: goes with --data; got"),
        (["thresholds", "x", "--tasks", "--picture", "."], "--picture .: is a folder"),
        (["compare", "x", "y", "--tasks", "--picture", "."], "--picture .: is a folder"),
        (["ranges", "--model", "x", "--output", "y", "--data", "nowhere"], "nowhere: no such file"),
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
def test_wrong_usage_is_one_line_and_status_2_and_nothing_is_written(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not list(tmp_path.iterdir())


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


def ranges_to(folder: Path, *more: str) -> int:
    """Asks for a calibration of a model that is not there, which is found out after the files."""
    return main(["ranges", *RANGES, "--output", str(folder / "calibration.json"), *more])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("calibration.json", "calibration"),
        ("calibration.md", "report"),
        ("calibration.png", "picture"),
    ],
)
def test_results_that_are_there_are_replaced_with_force_alone(
    name: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text("kept")
    assert ranges_to(tmp_path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"{tmp_path / name}: a {kind} is there already; --force replaces it")
    ranges_to(tmp_path, "--force")
    assert "--force" not in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "kept"


def test_an_interrupted_run_needs_no_force_until_its_result_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "calibration.json.state").write_text("")
    (tmp_path / "calibration.md").write_text("")
    ranges_to(tmp_path)
    assert "--force" not in capsys.readouterr().err
    (tmp_path / "calibration.json").write_text("")
    ranges_to(tmp_path)
    assert "calibration.json: a calibration is there already" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["calibration.md", "calibration.png"])
def test_folders_in_the_place_of_report_and_picture_are_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).mkdir()
    assert ranges_to(tmp_path, "--force") == 2
    assert f"beside --output, {tmp_path / name}: is a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0 prompts"), (1, "1 prompt"), (4096, "4,096 prompts")]
)
def test_one_thing_is_no_plural(number: int, expected: str) -> None:
    assert counted(number, "prompt") == expected


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
