"""What surrounds the graph: files copied from the checkpoint, and the manifest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from dawn_export.errors import SourceError
from dawn_export.options import ExportOptions
from dawn_models import Checkpoint
from dawn_runtime.artifact import sha256_of
from dawn_runtime.manifest import Dims, FileEntry, Manifest, SpecialTokens
from dawn_runtime.policies.defaults import published_defaults

TOKENIZER_FILE = "tokenizer.json"
COPIED_FILES = (
    "config.json",
    "generation_config.json",
    TOKENIZER_FILE,
    "tokenizer_config.json",
    "chat_template.jinja",
)
"""Taken over from the checkpoint where it has them."""


def copy_files(checkpoint: Path, folder: Path) -> None:
    """Copies the files that tell how to turn text into ids and back.

    Links are followed, as the Hugging Face cache is made of them; an artifact holds real files.
    """
    for name in COPIED_FILES:
        if (checkpoint / name).exists():
            shutil.copyfile(checkpoint / name, folder / name)


def describe(checkpoint: Checkpoint, options: ExportOptions, folder: Path) -> Manifest:
    """Makes the manifest of an artifact from its checkpoint and the files written so far.

    Raises:
        SourceError: tokenizer.json is malformed.
        ArtifactError: A value does not fit the manifest.
    """
    config = checkpoint.config
    return Manifest(
        family=config.family,
        dims=Dims(
            layers=config.num_layers,
            hidden=config.hidden_size,
            heads=config.num_heads,
            kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            vocab_size=config.vocab_size,
            max_length=config.max_length,
        ),
        tokens=SpecialTokens(
            mask=config.mask_token_id, eos=_end_tokens(checkpoint), pad=config.pad_token_id
        ),
        prediction_shift=config.shift,
        evidence_layers=tuple(
            range(config.num_layers - options.evidence_layers, config.num_layers)
        ),
        dialect=options.graph_dialect,
        opset=options.opset,
        precision=options.precision,
        decoding=published_defaults(config.family),
        files={
            path.name: FileEntry(path.stat().st_size, sha256_of(path))
            for path in sorted(folder.iterdir())
        },
    )


def _end_tokens(checkpoint: Checkpoint) -> tuple[int, ...]:
    """The configured end tokens, then those of the family that the tokenizer has."""
    added = _added_tokens(checkpoint.folder / TOKENIZER_FILE)
    family = [added[token] for token in checkpoint.family.end_tokens if token in added]
    return tuple(dict.fromkeys([*checkpoint.config.eos_token_ids, *family]))


def _added_tokens(path: Path) -> dict[str, int]:
    """Text -> id of the tokens that tokenizer.json adds to its vocabulary."""
    if not path.exists():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8")).get("added_tokens", [])
        return {str(entry["content"]): int(entry["id"]) for entry in entries}
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise SourceError(f"{path}: not a tokenizer ({reason}); download it again") from error
