"""Training of every family, from a checkpoint or not, and on after it was told to stop."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import evaluate_tasks
import train_tiny
from dawn_export import ExportOptions, export
from dawn_models import Checkpoint, Told
from dawn_runtime import Decoder
from tiny_training import configs
from tiny_training.progress import StopRequest
from tiny_training.start import TABLES

START = Path(__file__).parent.parent.parent / "models" / "tiny-dream"
LLADA = START.parent / "tiny-llada"
SCHEMES = {
    "tiny-wedlm": {"wedlm": ("wedlm", "one-per-step")},
    "tiny-block": {
        "fast-dllm-v2": ("sdar", "one-per-step"),
        "a2d-bd3lm": ("llada", "self-verify"),
    },
    "tiny-nemotron": {"nemotron": ("threshold", "autoregressive", "linear-speculation")},
}
"""How the formats of the other families are decoded, the rule of the artifact first."""


@pytest.fixture
def sigterm() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sigterm: None) -> Callable[..., int]:
    threads = torch.get_num_threads()

    def run(*flags: str, model: str = "tiny-dream") -> int:
        paths = ["--output", str(tmp_path / "out"), "--state", str(tmp_path / "state.pt")]
        common = ["train_tiny.py", model, *paths, "--threads", str(threads)]
        monkeypatch.setattr(sys, "argv", [*common, *flags])
        return train_tiny.main()

    return run


def test_a_run_begins_with_the_weights_and_the_vocabulary_of_a_checkpoint(
    train: Callable[..., int], tmp_path: Path
) -> None:
    assert train("--from", str(START), "--steps", "1", "--learning-rate", "1e-12") == 0
    begun, made = dict(Checkpoint.open(START)), dict(Checkpoint.open(tmp_path / "out"))
    assert begun.keys() == made.keys()
    assert all(torch.equal(made[name], begun[name]) for name in begun)
    tokenizer = (tmp_path / "out" / "tokenizer.json").read_text()
    assert tokenizer == (START / "tokenizer.json").read_text()


@pytest.mark.parametrize("model", SCHEMES)
def test_a_short_run_of_a_family_ends_with_a_checkpoint_that_its_schemes_decode(
    train: Callable[..., int],
    tmp_path: Path,
    model: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(train_tiny, "SMOKE", replace(train_tiny.SMOKE, steps=2))
    monkeypatch.setattr(configs, "LAYERS", 2)
    assert train("--smoke", model=model) == 0
    assert json.loads(capsys.readouterr().out)["loss"] > 0
    out = tmp_path / "out"
    for family, (usual, *others) in SCHEMES[model].items():
        told, own = Told(), out / f"config.{family}.json"
        if own.exists():
            told = Told(family=family)
            own.replace(out / "config.json")
        assert Checkpoint.open(out, told).config.family == family
        export(out, tmp_path / family, ExportOptions(evidence_layers=1), told=told)
        answers = decoded(tmp_path / family, usual, *others)
        if "autoregressive" in answers:
            assert answers["linear-speculation"] == answers["autoregressive"]
        flags = ("--policy", "default", "--items", "1", "--tasks", "reverse", "--threads", "1")
        command = ["evaluate_tasks.py", str(tmp_path / family), *flags, "--json"]
        monkeypatch.setattr(sys, "argv", command)
        capsys.readouterr()
        assert evaluate_tasks.main() == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["policy"], found["block_length"]) == ("default", None)
        assert found["tasks"][0]["forwards"] > 0


def decoded(artifact: Path, usual: str, *others: str) -> dict[str, list[int]]:
    """Tokens of an answer by each policy."""
    with Decoder.open(artifact, threads=1) as decoder:
        assert decoder.manifest.decoding.policy == usual
        rules: dict[str, Any] = {"max_new_tokens": 20, "stop_at_eos": False}
        return {
            policy: check(decoder.generate("Sort: 3 1", policy=policy, **rules).tokens.tolist())
            for policy in (usual, *others)
        }


def check(tokens: list[int]) -> list[int]:
    assert len(tokens) == 20
    return tokens


@pytest.mark.parametrize(
    ("model", "start"), [("tiny-wedlm", START), ("tiny-block", START), ("tiny-nemotron", LLADA)]
)
def test_a_run_begins_with_the_weights_of_another_family(
    train: Callable[..., int], tmp_path: Path, model: str, start: Path
) -> None:
    flags = ("--from", str(start), "--steps", "1", "--learning-rate", "1e-12")
    assert train(*flags, model=model) == 0
    begun, made = Checkpoint.open(start), Checkpoint.open(tmp_path / "out")
    assert made.config.family in SCHEMES[model]
    assert made.config.mask_token_id == begun.config.mask_token_id
    before, after = dict(begun), dict(made)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        rows = len(tensor)
        assert torch.equal(after[name][:rows], tensor)
        if len(after[name]) > rows:
            assert (model, name in TABLES) == ("tiny-block", True)
            mask = tensor[begun.config.mask_token_id]
            assert (after[name][rows:] == mask).all(), "what is added begins as the mask"


def test_a_run_that_is_told_to_stop_saves_its_step_and_is_taken_up(
    train: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = ("--from", str(START), "--steps", "2", "--save-every", "100")
    with monkeypatch.context() as patched:
        patched.setattr(StopRequest, "asked", True, raising=False)
        patched.setattr(StopRequest, "__init__", lambda self: None)
        assert train(*flags) == 0
    assert "stopped at step 1" in capsys.readouterr().err
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 1
    assert train(*flags) == 0
    assert "resumed at step 1" in capsys.readouterr().err
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 2


def test_sigterm_is_a_request_and_no_end(sigterm: None) -> None:
    stop = StopRequest()
    assert not stop.asked
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.asked


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--from", "nowhere"), "--from nowhere: no tokenizer.json there"),
        (("--from", str(START.parent / "tiny-dream-int8")), "no model.safetensors there"),
        (
            ("--from", str(LLADA)),
            "its vocabulary lacks '<|im_start|>', which tiny-dream has",
        ),
        (("--learning-rate", "0"), "got '0', expected a number above 0 and below 1"),
        (("--learning-rate", "nan"), "got 'nan', expected a number above 0 and below 1"),
    ],
)
def test_a_run_that_cannot_begin_says_why(
    train: Callable[..., int],
    flags: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    with pytest.raises(SystemExit, match="2"):
        train(*flags)
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def without_a_layer(made: Path) -> None:
    weights = load_file(made / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if ".layers.5." not in name}
    save_file(kept, made / "model.safetensors", metadata={"format": "pt"})
    says(made, num_hidden_layers=5)


def says(made: Path, **fields: object) -> None:
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(config | fields))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_a_layer, "layers.5.attention_norm.weight is not there, tiny-wedlm wants 192"),
        (partial(says, rope_theta=5e3), "its rope_theta is 5000.0, tiny-wedlm has 10000.0"),
        (partial(says, hidden_size=96), "config.json asks for [1024, 96]"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(
    train: Callable[..., int],
    change: Callable[[Path], None],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    start = tmp_path / "start"
    shutil.copytree(START, start)
    change(start)
    with pytest.raises(SystemExit, match="2"):
        train("--from", str(start), model="tiny-wedlm")
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"train_tiny.py: error: --from {start}: ")
    assert message in error
    assert not (tmp_path / "out").exists()
