"""Reading the small files beside the weights of a checkpoint, none of which is trusted."""

from __future__ import annotations

from pathlib import Path

from dawn_export.errors import SourceError
from dawn_models.fields import MAX_JSON_BYTES, Fields, read_json
from dawn_models.files import outside, present, read_start

MAX_TEXT_BYTES = 16 * 2**20
"""Largest text file that is read; merges of published checkpoints stay below 5 MiB."""


def find(folder: Path, name: str) -> Path | None:
    """Returns the path of a file, None if the checkpoint has none of this name.

    Raises:
        SourceError: It is a link that leads out of the checkpoint.
    """
    path = folder / name
    if not present(path):
        return None
    target = outside(path)
    if target is not None:
        raise SourceError(f"{path}: links to {target}, outside its folder; copy the file")
    return path


def read_fields(folder: Path, name: str) -> Fields:
    """Reads a JSON object; one without fields where the checkpoint has no such file.

    Raises:
        ConfigError: Not a JSON object.
        SourceError: A link that leads out of the checkpoint.
    """
    path = find(folder, name)
    return Fields({} if path is None else read_json(path), folder / name)


def read_bytes(path: Path, limit: int = MAX_JSON_BYTES) -> bytes:
    """Reads a file of at most `limit` bytes.

    Raises:
        SourceError: Too large, or not to be read.
    """
    try:
        content, size = read_start(path, limit)
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: cannot be read ({error}); download it again") from error
    if size > limit:
        raise SourceError(f"{path}: {size} bytes, at most {limit} are read; download it again")
    return content


def read_text(path: Path) -> str:
    """Reads a text of at most `MAX_TEXT_BYTES`.

    Raises:
        SourceError: Too large, or not UTF-8.
    """
    content = read_bytes(path, MAX_TEXT_BYTES)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: not a text in UTF-8 ({error}); download it again") from error
