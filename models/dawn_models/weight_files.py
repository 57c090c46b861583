"""Which files of a folder hold the weights, where several could.

transformers takes ``model.safetensors`` before an index with shards, and looks at nothing else
unless it is asked to; so do we, and say what is left. A folder with an adapter is refused: there
transformers loads another model, the adapter's base.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from dawn_models.errors import WeightsError
from dawn_models.files import present

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_ADAPTER_FILE = "adapter_config.json"
_WEIGHTS = re.compile(
    r".*\.safetensors|.*\.safetensors\.index.*\.json|pytorch_model.*\.bin|consolidated.*\.pth"
    r"|.*\.gguf"
)
"""Names of files that may hold weights; other pickles are what trainers leave."""

_PICKLE = re.compile(r".*\.(bin|pt|pth|ckpt)")


def weight_file(folder: Path) -> Path:
    """The single file or, without one, the index.

    Raises:
        WeightsError: there is neither, or the folder holds an adapter.
    """
    adapter = folder / _ADAPTER_FILE
    if present(adapter):
        raise WeightsError(
            f"{adapter}: an adapter (LoRA) beside or in place of a model; merge it into its base "
            "model first (merge_and_unload of peft), and export what save_pretrained writes"
        )
    for name in (SINGLE_FILE, INDEX_FILE):
        if present(folder / name):
            return folder / name
    raise WeightsError(_nothing_to_read(folder))


def note_others(folder: Path, read: Collection[str]) -> list[str]:
    """A line about files that may hold weights too, if there are any.

    Args:
        folder: the checkpoint's.
        read: names of the files that are read.
    """
    others = [name for name in _names(folder) if _WEIGHTS.fullmatch(name) and name not in read]
    if not others:
        return []
    taken = SINGLE_FILE if SINGLE_FILE in read else INDEX_FILE
    return [f"{taken} is exported, as transformers loads it; not read: {_listed(others)}"]


def _nothing_to_read(folder: Path) -> str:
    names = _names(folder)
    ours = [name for name in names if _WEIGHTS.fullmatch(name) and ".safetensors" in name]
    pickle = next((name for name in names if _PICKLE.fullmatch(name)), None)
    gguf = next((name for name in names if name.endswith(".gguf")), None)
    if ours:
        return (
            f"{folder}: neither {SINGLE_FILE} nor {INDEX_FILE} found, only {_listed(ours)}; if "
            "that is what shall be exported, give it the name"
        )
    if gguf is not None:
        return (
            f"{folder / gguf}: only safetensors are read; GGUF holds rounded weights, export the "
            "checkpoint it was made from"
        )
    if pickle is not None:
        return (
            f"{folder / pickle}: only safetensors are read (a pickle can run code); convert it "
            "first, where you trust it: save_pretrained of transformers writes safetensors"
        )
    return f"{folder}: neither {SINGLE_FILE} nor {INDEX_FILE} found"


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise WeightsError(f"{folder}: cannot be listed: {error.strerror}") from error


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"{name:.80}" for name in names[:2])
    return f"{shown} and {len(names) - 2} more" if len(names) > 2 else shown
