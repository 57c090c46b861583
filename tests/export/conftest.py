"""A small checkpoint with a tied head, and its graph, traced once for each worker."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dawn_export import ExportOptions, exporter
from dawn_export.graph import StepGraph, build_graph
from dawn_models import read_config
from support.checkpoints import write_checkpoint

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
