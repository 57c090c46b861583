"""`vocab.json` and `merges.txt` beside a `tokenizer.json`: do they say the same?

transformers reads `tokenizer.json` where there is one. A family's own tokenizer, such as Dream's,
is older Python code that reads the two other files, which is said too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from dawn_export.errors import SourceError
from dawn_export.text.byte_level import MERGES_FILE, VOCABULARY_FILE
from dawn_export.text.side_files import find, read_text
from dawn_models import CheckpointError
from dawn_models.families import tokenizer_classes
from dawn_models.fields import Fields, parse_json, read_json


def compare_older_files(
    folder: Path, content: bytes, tokenizer: Tokenizer, config: Fields
) -> list[str]:
    """Compares the older files of a checkpoint with its `tokenizer.json`.

    Args:
        folder: The checkpoint's.
        content: Content of `tokenizer.json`.
        tokenizer: Made of it.
        config: `tokenizer_config.json`.

    Returns:
        A line if they differ.
    """
    differing = []
    vocabulary, merges = find(folder, VOCABULARY_FILE), find(folder, MERGES_FILE)
    if vocabulary is not None and not _same_vocabulary(vocabulary, tokenizer):
        differing.append(VOCABULARY_FILE)
    if merges is not None and not _same_merges(merges, content):
        differing.append(MERGES_FILE)
    if not differing:
        return []
    name = config.values.get("tokenizer_class")
    beside = f" (the code of {name} reads them: compare)" if name in tokenizer_classes() else ""
    return [
        f"{' and '.join(differing)} differ from tokenizer.json, which is taken, as transformers "
        f"has it{beside}"
    ]


def _same_vocabulary(path: Path, tokenizer: Tokenizer) -> bool:
    try:
        values = read_json(path)
    except CheckpointError:
        return False
    every = tokenizer.get_vocab(with_added_tokens=True)
    plain = tokenizer.get_vocab(with_added_tokens=False)
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    known = all(every.get(token) == number for token, number in values.items())
    return known and not plain.keys() - values.keys() - added


def _same_merges(path: Path, content: bytes) -> bool:
    try:
        lines = [line.strip() for line in read_text(path).split("\n")]
    except SourceError:
        return False
    first = 1 if lines[0].startswith("#version:") else 0
    return [line for line in lines[first:] if line] == _merges(content)


def _merges(content: bytes) -> list[str] | None:
    """The pairs of `tokenizer.json`, in either of its spellings."""
    model: Any = parse_json(content).get("model")
    merges = model.get("merges") if isinstance(model, dict) else None
    if not isinstance(merges, list):
        return None
    return [" ".join(map(str, pair)) if isinstance(pair, list) else str(pair) for pair in merges]
