"""From a checkpoint folder to a decoder around torch, without an export."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from dawn_export.describe import describe
from dawn_export.errors import SourceError
from dawn_export.options import ExportOptions
from dawn_export.text.companions import write_companions
from dawn_models import Checkpoint, CheckpointError, Told, Transformer, load_transformer
from dawn_runtime import Artifact, Decoder, Engine
from dawn_runtime.arrays import IntArray
from dawn_runtime.chat import ChatTemplate
from dawn_runtime.errors import OptionError
from dawn_runtime.manifest import FileEntry, Manifest
from dawn_runtime.prompts import Prompt, PromptReader
from dawn_runtime.tokenizer import Tokenizer

_EVIDENCE_LAYERS = 4
_NO_WEIGHTS = FileEntry(0, "0" * 64)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What decoding needs beside an engine.

    Attributes:
        manifest: The checkpoint, described as its export would; it lists no graph.
        tokenizer: None if the checkpoint has none.
        chat: None if it has no template.
    """

    manifest: Manifest
    tokenizer: Tokenizer | None
    chat: ChatTemplate | None

    def encode(self, prompt: Prompt, max_new_tokens: int | None = None) -> IntArray:
        """Does what `Decoder.encode` does, before there is an engine."""
        reader = PromptReader(self.manifest, self.tokenizer, self.chat)
        ids = reader.read(prompt)
        reader.new_tokens(ids, max_new_tokens, self.manifest.decoding.max_new_tokens)
        return ids

    def decoder(self, engine: Engine) -> Decoder:
        """Puts a decoder around an engine of this checkpoint."""
        return Decoder(self.manifest, engine, tokenizer=self.tokenizer, chat=self.chat)


def open_checkpoint(folder: Path, told: Told | None = None) -> Checkpoint:
    """Opens a checkpoint folder; no weight is read yet.

    Args:
        folder: Where it lies.
        told: What it is, where its files do not say.

    Raises:
        SourceError: It cannot be used.
    """
    with _translated():
        return Checkpoint.open(folder, told or Told())


def read_surroundings(checkpoint: Checkpoint) -> Surroundings:
    """Reads tokenizer and template of a checkpoint and describes it.

    Raises:
        SourceError: Its tokenizer or configuration cannot be used.
    """
    layers = min(_EVIDENCE_LAYERS, checkpoint.config.num_layers)
    options = ExportOptions(evidence_layers=layers)
    with TemporaryDirectory() as name, _translated():
        folder = Path(name)
        write_companions(checkpoint, folder)
        manifest = describe(checkpoint, options, folder, _NO_WEIGHTS)
        artifact = Artifact(folder, manifest)
        return Surroundings(
            manifest, Tokenizer.from_artifact(artifact), ChatTemplate.from_artifact(artifact)
        )


def load_model(checkpoint: Checkpoint, device: str = "cpu", dtype: str = "float32") -> Transformer:
    """Loads all weights of a checkpoint.

    Args:
        checkpoint: Where they are.
        device: A device of torch.
        dtype: Element type, such as `float32`.

    Raises:
        OptionError: torch has no such device here.
        SourceError: A shard cannot be read.
    """
    try:
        place = torch.zeros(1, device=device).device
    except (RuntimeError, AssertionError) as error:  # a build without CUDA asserts
        reason = " ".join(str(error).split())
        raise OptionError(f"device {device!r} cannot be used ({reason:.200}); try cpu") from error
    with _translated():
        return load_transformer(checkpoint, getattr(torch, dtype)).to(place)


@contextmanager
def _translated() -> Iterator[None]:
    """The one place where the errors of reading a checkpoint become ours."""
    try:
        yield
    except CheckpointError as error:
        raise SourceError(str(error)) from error
