"""What can be known to go wrong is said before any work, in one line."""

import shutil
from pathlib import Path

import pytest

from dawn_export import ExportOptions, OutputError, export, exporter, preflight
from dawn_export.preflight import artifact_bytes, check_disk
from dawn_models import read_config
from dawn_runtime import Artifact, OptionError
from support.checkpoints import write_config

TWO_LAYERS = ExportOptions(evidence_layers=2)
SMALL_VALUES = 4624


@pytest.mark.parametrize(("precision", "size"), [("fp32", 4), ("fp16", 2), ("bf16", 2)])
def test_the_size_of_an_artifact_is_known_before(tmp_path: Path, precision: str, size: int) -> None:
    write_config(tmp_path, "dream", tie_word_embeddings=True)
    _, config = read_config(tmp_path)
    beside = preflight._BESIDE_WEIGHTS
    assert artifact_bytes(config, ExportOptions("cuda", precision)) == SMALL_VALUES * size + beside


def test_a_disk_that_is_too_full_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path, "dream", tie_word_embeddings=True)
    _, config = read_config(tmp_path)
    needed = artifact_bytes(config, ExportOptions())
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed))
    check_disk(config, ExportOptions(), tmp_path / "deep" / "out")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2**24))
    message = r"out: the artifact takes 0.07 GB and 0.02 GB are free there; free 0.05 GB or choose"
    with pytest.raises(OutputError, match=message):
        check_disk(config, ExportOptions(), tmp_path / "deep" / "out")


def test_nothing_is_traced_or_written_when_a_check_fails(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwanted(*arguments: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr(exporter, "build_graph", unwanted)
    for options, error, message in (
        (ExportOptions(evidence_layers=3), OptionError, "the model has 2 layers"),
        (ExportOptions(evidence_layers=2, context_length=65), OptionError, "made for 64 tokens"),
    ):
        with pytest.raises(error, match=message):
            export(small, tmp_path / "out", options)
    monkeypatch.setattr(preflight, "_BESIDE_WEIGHTS", 2**62)
    with pytest.raises(OutputError, match="GB are free there"):
        export(small, tmp_path / "out", TWO_LAYERS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint"]


@pytest.mark.usefixtures("traced")
def test_a_shorter_context_is_what_the_artifact_says(small: Path, tmp_path: Path) -> None:
    export(small, tmp_path / "out", ExportOptions(evidence_layers=2, context_length=48))
    assert Artifact.open(tmp_path / "out").manifest.dims.max_length == 48
