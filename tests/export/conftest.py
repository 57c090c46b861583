"""A small checkpoint, its graph and an artifact for TensorRT, made once for each worker."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dawn_export import ExportOptions, exporter
from dawn_export.graph.step import StepGraph, build_graph
from dawn_models import read_config
from support.checkpoints import write_checkpoint
from support.tensorrt_machine import FakeMachine, copied, small_artifact

SMALL = ExportOptions(evidence_layers=2)


@pytest.fixture(scope="session")
def small_graph(tmp_path_factory: pytest.TempPathFactory) -> StepGraph:
    folder = write_checkpoint(tmp_path_factory.mktemp("small"), "dream", tie_word_embeddings=True)
    return build_graph(read_config(folder)[1], SMALL)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A checkpoint of two layers with a tied head."""
    return write_checkpoint(tmp_path / "checkpoint", "dream", tie_word_embeddings=True)


@pytest.fixture
def traced(small_graph: StepGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports take the graph of the small checkpoint, already traced."""
    build: Callable[..., StepGraph] = lambda config, options: small_graph  # noqa: E731
    monkeypatch.setattr(exporter, "build_graph", build)


@pytest.fixture(scope="session")
def portable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small artifact for TensorRT; read-only by convention."""
    return small_artifact(tmp_path_factory.mktemp("portable"), precision="fp16")


@pytest.fixture
def folder(portable: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return copied(portable, tmp_path / "artifact")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    """A machine with a fake TensorRT."""
    return FakeMachine(monkeypatch)
