"""Decoders of text that a server may stand on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dawn_runtime import Decoder
from support.gate import GatedEngine
from support.text import TEXT_MANIFEST, write_artifact, write_tokenizer


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
