"""What the user says of a checkpoint: flags, arguments, and what they may not say."""

import json
from pathlib import Path
from typing import Any

import pytest

from dawn_calibration.cli import main as calibrate
from dawn_export import ExportOptions, export
from dawn_export.cli import main
from dawn_export.exporter import open_checkpoint
from dawn_models import Told
from dawn_runtime import OptionError
from support.checkpoints import write_checkpoint, write_config


def test_flags_reach_the_reader_and_what_is_missing_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_checkpoint(tmp_path / "model", "open-dcoder")
    write_config(model, "open-dcoder", mask_token_id=...)
    words = ["--model", str(model), "--output", str(tmp_path / "out"), "--quiet"]
    assert main(words) == 1
    assert "--family open-dcoder" in capsys.readouterr().err
    assert main([*words, "--family", "open-dcoder"]) == 1
    assert "--mask-token-id N sets it" in capsys.readouterr().err
    assert main([*words, "--family", "open-dcoder", "--mask-token-id", "39"]) == 2
    # Everything is known now: what is wrong is that four layers of evidence are asked of two.
    assert "--evidence-layers: got 4, but the model has 2 layers" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_calibration_takes_the_same_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_checkpoint(tmp_path / "model", "sdar")
    (tmp_path / "data.jsonl").write_text('{"input_ids": [1, 2]}\n')
    words = ["ranges", "--model", str(model), "--output", str(tmp_path / "c.json")]
    words += ["--data", str(tmp_path / "data.jsonl"), "--trained-block", "8", "--quiet"]
    assert calibrate(words) == 1
    assert "'block_size': got 4, expected 8 as --trained-block says" in capsys.readouterr().err


def test_a_model_that_must_see_less_is_not_calibrated_by_showing_it_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dawn_calibration.ranges import calibrate as ranges

    monkeypatch.setattr(ranges, "load_model", lambda *_: pytest.fail("was loaded"))
    model = write_checkpoint(tmp_path / "model", "sdar")
    (tmp_path / "data.jsonl").write_text('{"input_ids": [1, 2]}\n')
    words = ["ranges", "--model", str(model), "--output", str(tmp_path / "c.json"), "--quiet"]
    assert calibrate([*words, "--data", str(tmp_path / "data.jsonl")]) == 2
    assert (
        "attends block by block, in blocks of 4; export it with --target" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--family", "dreem"), "invalid choice: 'dreem'"),
        (
            ("--mask-token-id", "-1"),
            "--mask-token-id: got -1, expected a whole number of at least 0",
        ),
        (("--mask-token-id", "x"), "invalid int value: 'x'"),
        (("--trained-block", "0"), "--trained-block: got 0, expected a whole number of at least 1"),
    ],
)
def test_a_word_that_means_nothing_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    write_checkpoint(tmp_path / "model", "sdar")
    given = ["--model", str(tmp_path / "model"), "--output", str(tmp_path / "out"), *words]
    assert main(given) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "told",
    [
        *("sdar", Told(family="x"), Told(mask_token_id=True), Told("sdar", 2**70)),
        Told(no_draft_adapter=1),  # type: ignore[arg-type]  # what Python lets pass
    ],
)
def test_python_is_told_the_same(tmp_path: Path, told: Any) -> None:
    with pytest.raises(OptionError, match=r"got |told is "):
        export(write_checkpoint(tmp_path / "model", "sdar"), tmp_path / "out", told=told)


def test_a_checkpoint_that_sees_in_blocks_is_described_with_them(tmp_path: Path) -> None:
    from dawn_export.describe import describe
    from dawn_runtime.manifest import Attention, FileEntry

    model = write_checkpoint(tmp_path / "model", "fast-dllm-v2")
    options = ExportOptions(evidence_layers=2)
    checkpoint = open_checkpoint(model, options, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    manifest = describe(checkpoint, options, tmp_path / "empty", FileEntry(0, "0" * 64))
    assert manifest.attention == Attention("block-causal", 32, "start", carry=True)
    # Its sub-blocks, which its authors decode one after the other.
    assert (manifest.prediction_shift, manifest.decoding.block_length) == (1, 8)
    assert json.loads(manifest.to_json())["attention"]["kind"] == "block-causal"
