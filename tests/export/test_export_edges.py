"""`dawn-export` at its edges: one thing taken for another, places, swapped folders, idle flags."""

import os
from pathlib import Path

import pytest

from dawn_export import ExportOptions, export
from dawn_export.cli import main
from dawn_export.errors import CalibrationFileError, OutputError, SourceError
from dawn_export.folder.artifact import check_output
from dawn_export.quantization.calibration_file import read_calibration
from dawn_export.sources.find import find_source
from dawn_models import ConfigError
from dawn_models.fields import parse_json, read_json
from dawn_runtime import Artifact
from dawn_runtime.engine.fake import fake_manifest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "int8"], "--precision: goes with --model; got --artifact"),
        (["--verify"], "--verify: goes with --model"),
        (["--force"], "--force: goes with --model"),
        (["--output", "out"], "--output: goes with --model"),
        (["--evidence-layers", "2"], "--evidence-layers: goes with --model"),
        (["--calibration", "c.json"], "--calibration: goes with --model"),
        (["--adopt", "a.engine"], "--onnx-only and --adopt exclude each other"),
    ],
)
def test_flags_without_effect_on_an_artifact_are_wrong_usage(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = ["--artifact", str(tmp_path), "--target", "tensorrt", "--onnx-only"]
    assert main([*fixed, *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize("arguments", [["--batch", "0"], ["--max-length", "0"]])
def test_flags_of_tensorrt_are_refused_elsewhere_whatever_their_value(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", "x", "--output", "y", *arguments]) == 2
    assert f"{arguments[0]}: goes with --target tensorrt" in capsys.readouterr().err


def test_an_artifact_is_no_checkpoint_and_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "dawn.json").write_text(fake_manifest().to_json())
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        SourceError, match="is an artifact, which dawn-export has written; give the"
    ):
        find_source(str(tmp_path))
    with pytest.raises(SourceError, match=r"config\.json: is a file; give the folder of a"):
        find_source(str(tmp_path / "config.json"))


def test_a_calibration_is_read_within_bounds_and_a_manifest_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dawn.json").write_text(fake_manifest().to_json())
    (tmp_path / "deep").write_text("[" * 200_000)
    for name, message in (
        ("/dev/zero", "/dev/zero: cannot be read .is a device, expected a plain file"),
        (str(tmp_path / "pipe"), "pipe: cannot be read .is a pipe, expected a plain file"),
        (str(tmp_path), "cannot be read .Is a directory"),
        (str(tmp_path / "none"), "none: no such file; check the path"),
        (str(tmp_path / "dawn.json"), "is the manifest of an artifact; give the calibration"),
        (str(tmp_path / "deep"), "nested more than 100 levels deep"),
    ):
        with pytest.raises(CalibrationFileError, match=message):
            read_calibration(Path(name))


@pytest.mark.parametrize("kind", ["pipe", "link to a device"])
def test_what_is_no_folder_is_no_place_for_an_artifact(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/zero")
    with pytest.raises(OutputError, match="give --output the name of a new folder"):
        check_output(Path(os.path.realpath(place)), force=True)
    assert place.is_symlink() or place.is_fifo()


@pytest.mark.parametrize("name", ["file/below", "n" * 250])
def test_a_place_that_cannot_be_had_is_known_before_the_checkpoint_is_read(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot be written to: (Not a dir|File name too long)"):
        check_output(tmp_path / name, force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.usefixtures("traced")
def test_an_artifact_is_replaced_from_inside_of_its_folder(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ExportOptions(evidence_layers=2)
    (tmp_path / "out").mkdir()
    for _ in range(2):
        monkeypatch.chdir(tmp_path / "out")
        report = export(small, ".", options, force=True)
    assert report.size_bytes > 0
    with pytest.raises(OutputError, match=r"the working directory is gone.*change into it again"):
        export(small, ".", options, force=True)
    monkeypatch.chdir(tmp_path)
    assert Artifact.open(tmp_path / "out", verify="full").manifest.family == "dream"


def test_integers_without_end_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"n": ' + "1" * 5000 + "}")
    with pytest.raises(ConfigError, match="got an integer of 5000 digits, expected at most 1000"):
        read_json(tmp_path / "config.json")
    assert parse_json(b'{"model_max_length": 1000000000000000019884624838656}')
