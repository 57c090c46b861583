"""`dawn-export`: exit status, what goes where, and errors of one line."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dawn_export import exporter
from dawn_export.cli import main
from dawn_export.verification import computed_outputs as parity
from dawn_runtime import Artifact
from support.checkpoints import write_checkpoint

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs dawn-export on the small checkpoint: more arguments -> status, output, errors."""

    def run(*arguments: str, model: Path = small) -> tuple[int, str, str]:
        fixed = ["--model", str(model), "--output", str(tmp_path / "out")]
        status = main([*fixed, "--evidence-layers", "2", *arguments])
        return status, *capfd.readouterr()

    return run


@pytest.mark.usefixtures("traced")
def test_a_quiet_run_says_what_it_made_and_nothing_else(command: Command, tmp_path: Path) -> None:
    status, out, err = command("--dialect", "fused", "--verify", "--quiet")
    assert (status, err) == (0, "")
    values, layers, *table, summary = out.splitlines()
    assert values == "4,624 values of 26 weights read back: all as in the checkpoint"
    assert layers == "run end to end: 2 layers"
    assert [line.split()[0] for line in table] == [
        *("largest", "full", "cached", "batched", "minimal", "keys", "tolerance")
    ]
    assert summary.startswith("dream, 4,624 parameters, fp32, fused -> ")
    assert Artifact.open(tmp_path / "out").manifest.dialect == "fused"


@pytest.mark.usefixtures("traced")
def test_progress_and_warnings_go_to_standard_error(command: Command) -> None:
    status, out, err = command()
    assert status == 0
    assert "weights: 100%" in err
    assert "dawn-export: mask token 39, mask_token_id of config.json" in err
    assert "dawn-export: warning: the checkpoint has no tokenizer.json" in err
    assert len(out.splitlines()) == 1


@pytest.mark.usefixtures("traced")
def test_json_is_one_document_with_the_differences(command: Command, tmp_path: Path) -> None:
    status, out, _ = command("--json", "--verify")
    assert status == 0
    document = json.loads(out)
    assert document["output"] == str(tmp_path / "out")
    assert document["parameters"] == 4624
    assert document["mask_token"] == "39, mask_token_id of config.json"
    assert document["verification"]["values"]["mode"] == "all"
    first = document["verification"]["end_to_end"]["differences"][0]
    assert first == {"case": "full", "output": "tokens", "largest": 0.0, "tolerance": 1e-3}
    assert document["warnings"]


@pytest.mark.usefixtures("traced")
def test_a_failed_verification_prints_the_table_and_fails(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parity.TOLERANCES["fp32"], "cache", 1e-12)
    status, out, err = command("--verify")
    assert (status, out) == (1, "")
    assert "tolerance" in err
    assert err.splitlines()[-1].startswith("dawn-export: error: verification failed: cache differs")
    assert not (tmp_path / "out").exists()


def test_help_lists_only_what_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "{cpu,cuda,tensorrt}" in text
    assert "{fp32,fp16,bf16,int8,int8-weights,int4,int4-int8}" in text
    assert "--calibration FILE" in text
    assert "fp8" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --model, or --artifact with --target tensorrt or --push"),
        (["--model", "x"], "--output: missing; give the folder of the artifact"),
        (["--model", "x", "--output", "y", "--precision", "fp8"], "invalid choice: 'fp8'"),
        (["--model", "x", "--output", "y", "--dialect", "both"], "invalid choice: 'both'"),
        (["--model", "x", "--output", "y", "--target", "tpu"], "invalid choice: 'tpu'"),
        (["--model", "x", "--output", "y", "--evidence-layers", "few"], "invalid int value: 'few'"),
        (["--model", "x", "--output", "y", "--evidence-layers", "-1"], "expected at least 1"),
        (["--model", "x", "--output", "y", "--verify", "most"], "invalid choice: 'most'"),
        (["--model", "x", "--output", "y", "--context-length", "0"], "expected at least 1"),
        (
            ["--model", "x", "--output", "y", "--precision", "bf16"],
            "cpu cannot run bf16; use fp32 or fp16 or int8 or int4, or the target cuda or tensorrt",
        ),
        (["--model", "x", "--output", "y", "--frobnicate"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1


def test_too_many_evidence_layers_are_wrong_usage(command: Command, tmp_path: Path) -> None:
    status, _, err = command("--evidence-layers", "3")
    assert status == 2
    assert err == (
        "dawn-export: error: --evidence-layers: got 3, but the model has 2 layers; "
        "ask for 2 or fewer\n"
    )
    assert not (tmp_path / "out").exists()


def spoil_nothing(folder: Path) -> None:
    """The folder does not exist at all."""


def no_config(folder: Path) -> None:
    folder.mkdir()


def no_weights(folder: Path) -> None:
    write_checkpoint(folder, "llada")
    (folder / "model.safetensors").unlink()


def truncated(folder: Path) -> None:
    write_checkpoint(folder, "llada")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-5])


def unknown_family(folder: Path) -> None:
    write_checkpoint(folder, "llada")
    (folder / "config.json").write_text('{"model_type": "gpt2"}')


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_nothing, "broken: no such folder; expected a Hugging Face checkpoint folder"),
        (no_config, "config.json: file not found; expected a Hugging Face checkpoint"),
        (no_weights, "neither model.safetensors nor model.safetensors.index.json found"),
        (truncated, "model.safetensors: not readable as safetensors"),
        (unknown_family, "field 'model_type': got \"gpt2\", expected"),
    ],
)
def test_a_broken_checkpoint_is_one_line_and_status_1(
    command: Command, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(tmp_path / "broken")
    status, out, err = command(model=tmp_path / "broken")
    assert (status, out) == (1, "")
    assert err.startswith("dawn-export: error: ")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("traced")
def test_an_unexpected_error_is_one_line_and_a_traceback_only_with_debug(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(exporter, "describe", failing)
    status, _, err = command("--quiet")
    assert status == 1
    assert err == (
        "dawn-export: error: unexpected ZeroDivisionError: of all things; --debug shows where\n"
    )
    _, _, err = command("--quiet", "--debug")
    assert "Traceback" in err


def test_usage_errors_come_before_torch_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from dawn_export.cli import main;"
        "status = main(sys.argv[1:]);"
        "sys.exit(99 if 'torch' in sys.modules else status)"
    )
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").write_text("mine")
    cases = {
        ("--help",): 0,
        ("--model", "nowhere", "--output", "x"): 1,
        ("--model", str(tmp_path), "--output", str(taken)): 1,
        ("--model", "x", "--output", "x", "--precision", "fp1"): 2,
    }
    for arguments, status in cases.items():
        finished = subprocess.run(
            [sys.executable, "-c", code, *arguments], check=False, capture_output=True
        )
        assert finished.returncode == status, arguments
