"""Decoders of text that a server may stand on."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dawn_runtime import Decoder
from dawn_serve.edges import Bounds, Edges
from support.gate import PATIENCE, GatedEngine
from support.serving import Running, serving
from support.text import TEXT_MANIFEST, write_artifact, write_tokenizer

Exported = Callable[..., Path]


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact with the toy tokenizer and a template."""
    base = tmp_path_factory.mktemp("text")
    return write_artifact(base / "artifact", write_tokenizer(base / "tokenizer.json"))


@pytest.fixture
def gate() -> GatedEngine:
    """Its engine."""
    return GatedEngine(TEXT_MANIFEST)


@pytest.fixture
def decoder(text_folder: Path, gate: GatedEngine) -> Iterator[Decoder]:
    """A decoder of text around that engine."""
    with Decoder.open(text_folder, engine=gate, literal_text=True) as opened:
        yield opened
        gate.open()


@pytest.fixture(scope="session")
def exact(shipped: Exported) -> Iterator[Decoder]:
    """The small model in FP32, whose answers do not depend on who else is in the batch."""
    folder = shipped("tiny-dream", "fp32")
    with Decoder.open(folder, threads=1, literal_text=True) as opened:
        yield opened


@pytest.fixture(scope="session")
def served(exact: Decoder) -> Iterator[Running]:
    """A server of it."""
    with serving(exact) as running:
        yield running


@pytest.fixture
def gated(decoder: Decoder) -> Iterator[Running]:
    """A server of two rows over the fake engine, in whose queue two may wait."""
    bounds = Bounds(max_batch_size=2, max_queued_requests=2, queue_timeout=PATIENCE)
    with serving(decoder, bounds, edges=Edges(max_body_bytes=4096, grace=1)) as running:
        yield running
        decoder._engine.open()  # type: ignore[attr-defined]
