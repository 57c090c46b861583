"""An artifact of text to evaluate."""

from pathlib import Path

import pytest

from support.text import write_artifact, write_tokenizer


@pytest.fixture
def artifact_folder(tmp_path: Path) -> Path:
    """A folder that opens, with the toy tokenizer and a template."""
    return write_artifact(tmp_path / "artifact", write_tokenizer(tmp_path / "tokenizer.json"))
