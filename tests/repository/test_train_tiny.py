"""Training that goes on: from a checkpoint, and after it was told to stop."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import train_tiny
from dawn_models import Checkpoint
from tiny_training.progress import StopRequest

START = Path(__file__).parent.parent.parent / "models" / "tiny-dream"


@pytest.fixture
def sigterm() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sigterm: None) -> Callable[..., int]:
    threads = torch.get_num_threads()

    def run(*flags: str) -> int:
        paths = ["--output", str(tmp_path / "out"), "--state", str(tmp_path / "state.pt")]
        common = ["train_tiny.py", "tiny-dream", *paths, "--threads", str(threads)]
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
        (("--from", str(START.parent / "tiny-llada")), "is of the family llada, tiny-dream is not"),
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
