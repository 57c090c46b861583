"""`dawn-calibrate` at its edges: places, pipes, caches, swapped folders, flags that do nothing."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dawn_calibration.cli import main
from dawn_calibration.compare.comparison import CompareOptions, compare_artifacts
from dawn_calibration.errors import StateError
from dawn_calibration.judges import Program
from dawn_calibration.prompts import listed_questions, questions_of_file, questions_of_tasks
from dawn_calibration.ranges.identity import Identity
from dawn_calibration.ranges.options import RangeOptions
from dawn_calibration.ranges.progress import read_saved
from dawn_calibration.thresholds.defaults import restore_published, write_tuned
from dawn_calibration.thresholds.tune import TuneOptions, divide, tune
from dawn_runtime import ArtifactError, DawnError
from dawn_runtime.artifact import read_manifest
from dawn_runtime.engine.fake import fake_manifest
from dawn_runtime.manifest import FileEntry
from dawn_runtime.pictures import picture
from dawn_runtime.policies import Dawn

RANGES = ["ranges", "--model", "x", "--tasks"]


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "dawn.json").write_text(fake_manifest().to_json())
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*RANGES, "--output", "pipe"], "--output pipe: is a pipe or a device"),
        ([*RANGES, "--output", "pipe", "--force"], "--output pipe: is a pipe or a device"),
        ([*RANGES, "--output", "/dev/stdout", "--force"], "--output /dev/stdout: is a pipe or a d"),
        ([*RANGES, "--output", "c.json", "--state", "pipe"], "--state pipe: is a pipe or a device"),
        (
            ["ranges", "--model", "x", "--data", "in.jsonl", "--output", "in.jsonl", "--force"],
            "--output in.jsonl: is the same file as --data in.jsonl",
        ),
        ([*RANGES, "--output", "artifact/dawn.json", "--force"], "is a file of an artifact"),
        ([*RANGES, "--output", "c.json", "--no-smooth", "--samples", "4"], "--samples: goes with"),
        (
            [*RANGES, "--output", "c.json", "--threads", "999999"],
            "expected a number of at most 1024",
        ),
        (
            ["compare", "a", "b", "--data", "in.jsonl", "--picture", "in.jsonl"],
            "--picture",
        ),
        (["compare", "a", "b", "--data", "in.jsonl", "--seed", "1"], "--seed: goes with --tasks"),
        (
            ["thresholds", "artifact", "--set", "published", "--tasks"],
            "--tasks: goes with a search",
        ),
        (
            ["thresholds", "artifact", "--set", "published", "--agreement", "1"],
            "--agreement: goes with a search; --set published makes none",
        ),
    ],
)
@pytest.mark.usefixtures("artifact")
def test_wrong_usage_is_known_before_the_work_and_nothing_is_touched(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("in.jsonl").write_text('{"prompt": "a"}\n')
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert Path("pipe").is_fifo()
    assert Path("in.jsonl").read_text() == '{"prompt": "a"}\n'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact", "in.jsonl", "pipe"]


def test_a_picture_is_drawn_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to("real.png")
    with picture(tmp_path / "link.png", 1, 1, title="title") as (axis,):
        axis.plot([0, 1])
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").read_bytes().startswith(b"\x89PNG")


def test_a_state_that_is_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "state")
    run = Identity.__new__(Identity)  # never looked at
    with pytest.raises(
        StateError, match=r"state: cannot be read \(is a pipe, expected a plain fil"
    ):
        read_saved(tmp_path / "state", run)


def test_defaults_of_an_artifact_in_a_cache_stay_as_they_are(artifact: Path) -> None:
    repository = artifact.parent / "models--x--y"
    folder = repository / "snapshots" / "0123"
    folder.mkdir(parents=True)
    (repository / "blobs").mkdir()
    blob = shutil.copyfile(artifact / "dawn.json", repository / "blobs" / "abc")
    (folder / "dawn.json").symlink_to("../../blobs/abc")
    before = blob.read_text()
    with pytest.raises(ArtifactError, match=r"dawn\.json: is a link into a cache.*cp -rL"):
        write_tuned(folder, "threshold", {"threshold": 0.5})
    assert blob.read_text() == before


def test_thresholds_are_not_written_into_another_artifact(artifact: Path) -> None:
    searched = read_manifest(artifact)
    files = {"model.onnx": FileEntry(1, "0" * 64)}
    (artifact / "dawn.json").write_text(replace(searched, files=files).to_json())
    with pytest.raises(ArtifactError, match="is another artifact than the one that was searched"):
        write_tuned(artifact, "threshold", {"threshold": 0.5}, searched)
    change = write_tuned(artifact, "threshold", {"threshold": 0.5}, read_manifest(artifact))
    assert change.new.policy == "threshold"
    assert restore_published(artifact).new == change.old


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RangeOptions(smooth="no"), "ranges: smooth is 'no'; expected True or False"),
        (lambda: RangeOptions(clip="max"), "ranges: clip is 'max'; expected a Clip"),
        (lambda: RangeOptions(strata=5), "ranges: strata is 5; expected Strata"),
        (lambda: RangeOptions(policy=None), "ranges: policy is None; expected the name of a rule"),
        (lambda: RangeOptions(max_new_tokens=0), "ranges: max_new_tokens is 0; expected"),
        (lambda: RangeOptions(block_length=1.5), "ranges: block_length is 1.5; expected"),
        (lambda: TuneOptions(None), "thresholds: policy is None; expected the name of a rule"),
        (lambda: TuneOptions("dawn", judge="tasks"), "thresholds: judge is 'tasks'; expected"),
        (lambda: TuneOptions("dawn", max_new_tokens="4"), "max_new_tokens is '4'; expected"),
        (lambda: CompareOptions("dawn"), "compare: policy is 'dawn'; expected a rule"),
        (lambda: CompareOptions(Dawn(), block_length=True), "block_length is True; expected"),
        (lambda: tune(None, [], [], {"policy": "dawn"}), "expected TuneOptions"),
        (lambda: compare_artifacts(None, None, [], None), "options is None; expected Compare"),
        (lambda: questions_of_file(None), "prompts: path is None; expected a path"),
        (lambda: questions_of_file(""), "prompts: path is ''; expected a path"),
        (lambda: questions_of_tasks("sort", 1, "train", 0), "tasks is 'sort'; expected a list"),
        (lambda: questions_of_tasks([1], 1, "train", 0), "tasks: name is 1; expected one of"),
        (lambda: listed_questions(None), "the prompts is None; expected a list of Questions"),
        (lambda: divide(None, 0.5, 0), "expected a list of Questions"),
        (lambda: divide([], "0.5", 0), "held_out is '0.5'; expected a share between 0 and 1"),
        (lambda: divide([], 0.5, -1), "seed is -1; expected an integer >= 0"),
        (lambda: Program.parse(["python3"]), "checker: command is .*; expected one line"),
    ],
)
def test_what_is_of_another_type_is_one_line_before_the_work(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(DawnError, match=message):
        make()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_of_a_checkpoint_is_never_written_over(name: str, tmp_path: Path) -> None:
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).write_text("kept")
    target = str(tmp_path / name)
    arguments = ("--model", str(tmp_path), "--tasks", "--force", "--output", target)
    assert main(["ranges", *arguments]) == 2
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["kept", "kept"]
