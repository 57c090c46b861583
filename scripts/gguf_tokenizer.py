"""What a GGUF file says of the tokenizer of a checkpoint, so that llama.cpp reads and writes words.

Byte-level pairs in Qwen2's manner alone: llama.cpp has a splitter of words of its own for each
family, and this is the one of Dream and of the small models here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from dawn_runtime.errors import OptionError

_SPLITTER: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2 splits a text into words."""

_NORMAL, _CONTROL, _UNUSED = 1, 3, 5
"""Kinds of tokens."""

Said = dict[str, str | int | bool | list[str] | list[int]]


def tokenizer_metadata(checkpoint: Path, vocabulary: int) -> Said:
    """Returns the fields of the file.

    Args:
        checkpoint: its folder.
        vocabulary: rows of the embedding; ids that the tokenizer does not know are unused.

    Raises:
        OptionError: it has no tokenizer of that kind, or names no mask.
    """
    document = _json(checkpoint / "tokenizer.json")
    config = _json(checkpoint / "config.json")
    if document["model"]["type"] != "BPE" or _SPLITTER not in _patterns(document):
        raise OptionError(f"{checkpoint}: its tokenizer is not in Qwen2's manner; give another")
    names, kinds = _tokens(document, vocabulary)
    special = {"eos": "eos", "padding": "pad", "mask": "mask"}
    ids: dict[str, int] = {
        f"tokenizer.ggml.{name}_token_id": _one(config[f"{own}_token_id"])
        for name, own in special.items()
    }
    template = checkpoint / "chat_template.jinja"
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": names,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": [_merge(pair) for pair in document["model"]["merges"]],
        "tokenizer.ggml.add_bos_token": False,
        **ids,
        **({"tokenizer.chat_template": template.read_text("utf-8")} if template.is_file() else {}),
    }


def _json(path: Path) -> Any:
    if not path.is_file():
        raise OptionError(f"{path} is not there; give a checkpoint with a tokenizer.json")
    return json.loads(path.read_text(encoding="utf-8"))


def _patterns(document: Any) -> list[str]:
    """Regular expressions that split, of all splitters."""
    whole = document["pre_tokenizer"] or {}
    parts = whole.get("pretokenizers", [whole])
    return [part["pattern"].get("Regex", "") for part in parts if part.get("type") == "Split"]


def _tokens(document: Any, vocabulary: int) -> tuple[list[str], list[int]]:
    """Texts and kinds of all ids."""
    names = [f"[PAD{number}]" for number in range(vocabulary)]
    kinds = [_UNUSED] * vocabulary
    for text, number in document["model"]["vocab"].items():
        names[number], kinds[number] = text, _NORMAL
    for added in document["added_tokens"]:
        names[added["id"]] = added["content"]
        kinds[added["id"]] = _CONTROL if added["special"] else _NORMAL
    return names, kinds


def _merge(pair: str | list[str]) -> str:
    return pair if isinstance(pair, str) else " ".join(pair)


def _one(ids: int | list[int]) -> int:
    """The first of several ends."""
    return ids if isinstance(ids, int) else ids[0]
