"""Shared pieces: views of made-up rows, a toy tokenizer, artifact folders without a graph."""

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Decoder, RowView
from dawn_runtime.artifact import Artifact
from dawn_runtime.cuda import CudaDevice, Device
from dawn_runtime.engine.fake import FakeEngine, fake_manifest
from dawn_runtime.manifest import Manifest
from support.text import TextRecorder, write_artifact, write_manifest, write_tokenizer

MakeView = Callable[..., RowView]
RunCommand = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def make_view() -> MakeView:
    """Builds a view of a row whose window is the last `block` positions."""

    def build(
        confidence: Any, attention: Any, masked: Any, window: tuple[int, int], **changes: Any
    ) -> RowView:
        length = len(confidence)
        positions = np.arange(length)
        masked = np.asarray(masked, dtype=bool)
        fields = {
            "candidates": np.flatnonzero(
                masked & (positions >= window[0]) & (positions < window[1])
            ),
            "masked": masked,
            "window": window,
            "tokens": positions % 7,
            "confidence": np.asarray(confidence, dtype=np.float32),
            "attention": np.asarray(attention, dtype=np.float32),
            "attention_rows": positions,
            "attention_keys": positions,
            "step": 0,
            "predicted": positions,
            "entropy": 3 * (1 - np.asarray(confidence, dtype=np.float32)),
            "margin": 5 * np.asarray(confidence, dtype=np.float32),
        }
        return RowView(**{**fields, **changes})

    return build


@pytest.fixture(scope="session")
def random_view(make_view: MakeView) -> MakeView:
    """Builds views of random rows with 2 to 27 positions and at least one candidate."""

    def build(rng: np.random.Generator, **changes: Any) -> RowView:
        length = int(rng.integers(2, 28))
        begin = int(rng.integers(1, length))
        end = int(rng.integers(begin + 1, length + 1))
        masked = np.arange(length) >= begin
        masked[begin:end] = rng.random(end - begin) < rng.choice([0.3, 1.0])
        masked[rng.integers(begin, end)] = True
        attention = rng.random((length, length)) ** rng.integers(1, 9)
        attention /= attention.sum(axis=1, keepdims=True)
        # Few distinct values, so that equal confidences occur.
        confidence = rng.integers(0, 21, length) / 20
        return make_view(confidence, attention, masked, (begin, end), **changes)

    return build


@pytest.fixture(scope="session")
def tokenizer_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level tokenizer with one token for each byte, so characters span tokens."""
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")


@pytest.fixture
def artifact_folder(tmp_path: Path, tokenizer_json: Path) -> Path:
    """A folder that opens, with a tokenizer, a template and a graph of four bytes."""
    return write_artifact(tmp_path / "artifact", tokenizer_json)


@pytest.fixture
def manifest_writer() -> Callable[[Path, Manifest], None]:
    """Writes `dawn.json` anew after files of a folder have changed."""
    return write_manifest


@pytest.fixture
def engine() -> TextRecorder:
    """A fake engine over bytes that keeps what it was fed."""
    return TextRecorder()


@pytest.fixture
def decoder(artifact_folder: Path, engine: TextRecorder) -> Decoder:
    """A decoder of text around that engine."""
    return Decoder.open(artifact_folder, engine=engine)


@pytest.fixture
def fake_decoder() -> Decoder:
    """A decoder over the hash model, without a tokenizer."""
    manifest = fake_manifest()
    return Decoder(manifest, FakeEngine(manifest))


@pytest.fixture
def run_on_fake(
    artifact_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> RunCommand:
    """Runs a command on a fake engine; returns status, standard output and standard error."""

    def open_fake(artifact: Artifact, _: str = "", **options: object) -> FakeEngine:
        return FakeEngine(artifact.manifest)

    monkeypatch.setattr("dawn_runtime.decoder.open_engine", open_fake)

    def call(
        main: Callable[[list[str]], int],
        *arguments: str,
        stdin: str = "",
        folder: Path = artifact_folder,
    ) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        status = main([str(folder), *arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture(params=["host", "driver", pytest.param("gpu", marks=pytest.mark.gpu)])
def any_device(request: pytest.FixtureRequest) -> Iterator[Device]:
    """A device over host memory, one behind a driver that is none, and the GPU."""
    if request.param == "host":
        yield request.getfixturevalue("host")
        return
    fake = request.getfixturevalue("driver") if request.param == "driver" else None
    device = CudaDevice(driver=fake)
    yield device
    device.close()
