"""The artifact's `tokenizer.json`: taken over, or made of Qwen2's older files.

A checkpoint has its tokenizer as `tokenizer.json` (LLaDA), or as `vocab.json` and `merges.txt` with
Python code that knows what to do with them (Dream). The code is never run: its class is one we know
by name, or the checkpoint is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from dawn_export.errors import SourceError
from dawn_export.text.added_tokens import PlacedToken, TokenFiles, changed_flags, collect, place
from dawn_export.text.byte_level import (
    MERGES_FILE,
    VOCABULARY_FILE,
    qwen2_tokenizer,
    read_merges,
    read_vocabulary,
)
from dawn_export.text.side_files import find, read_bytes
from dawn_export.text.twins import compare_older_files
from dawn_models.families import tokenizer_classes
from dawn_models.fields import Fields
from dawn_runtime.native import native_errors

TOKENIZER_FILE = "tokenizer.json"
MODEL_FILE = "tokenizer.model"
"""SentencePiece's, which is not read."""

QWEN2_CLASSES = ("Qwen2Tokenizer", "Qwen2TokenizerFast")
"""Values of `tokenizer_class` that mean Qwen2's tokenizer, beside those of the families."""

_PROBE = "It's 3 + 4 = 7, Größe 12?\n\t 你好"
"""Encoded once: some parts of a tokenizer fail only then."""

_PLAIN_CLASS = "PreTrainedTokenizerFast"
"""The class that takes everything from tokenizer.json."""


@dataclass(frozen=True, slots=True)
class ReadTokenizer:
    """The tokenizer of a checkpoint, all added tokens in place.

    Attributes:
        tokenizer: It.
        config: Content for the artifact's `tokenizer_config.json`: nothing in it asks for code.
        idless: Special tokens that are named but have no id.
        notes: A line for everything that was found and not followed.
    """

    tokenizer: Tokenizer
    config: dict[str, Any]
    idless: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def part(self, name: str) -> tuple[str | None, int | None]:
        """Returns text and id of a token that plays a part, such as `mask_token`."""
        text = self.config.get(name)
        return (text, self.tokenizer.token_to_id(text)) if isinstance(text, str) else (None, None)


def read_tokenizer(folder: Path) -> ReadTokenizer | None:
    """Reads the tokenizer of a checkpoint, None if it has none.

    `tokenizer.json` goes before `vocab.json`, as it does in transformers.

    Raises:
        ConfigError: A JSON file is malformed.
        SourceError: A file is missing or broken, ids collide, or the class is not Qwen2's.
    """
    files = TokenFiles.read(folder)
    config = {name: value for name, value in files.config.values.items() if name != "auto_map"}
    config |= files.parts()
    notes = files.notes()
    stored = find(folder, TOKENIZER_FILE)
    if stored is not None:
        content = read_bytes(stored)
        tokenizer = _load(stored, content)
        notes += compare_older_files(folder, content, tokenizer, files.config)
        if find(folder, MODEL_FILE) is not None:
            notes.append(f"{MODEL_FILE} is not read, {TOKENIZER_FILE} is the tokenizer")
        tokens, idless = collect(files, tokenizer)
        notes += changed_flags(tokenizer, tokens)
    elif find(folder, VOCABULARY_FILE) or find(folder, MERGES_FILE):
        tokenizer, tokens, idless = _build(folder, files)
        config["tokenizer_class"] = _PLAIN_CLASS
    else:
        return None
    with library_errors(folder / TOKENIZER_FILE):
        place(tokenizer, tokens)
        tokenizer.decode(tokenizer.encode(_PROBE).ids)
    _check_places(folder, tokenizer, tokens)
    return ReadTokenizer(tokenizer, config, tuple(idless), tuple(notes))


@contextmanager
def library_errors(path: Path) -> Iterator[None]:
    """The one place where the errors of the tokenizers library become ours.

    Args:
        path: What is being read, for the message.

    Raises:
        SourceError: The library raises anything, a panic included.
    """

    def broken(reason: str) -> SourceError:
        return SourceError(f"{path}: not a tokenizer ({reason}); download it again")

    with native_errors(broken, SourceError, quiet=True):
        yield


def _load(path: Path, content: bytes) -> Tokenizer:
    with library_errors(path):
        tokenizer = Tokenizer.from_buffer(content)
        # What one training run happened to leave in the file; texts are taken as they are.
        tokenizer.no_truncation()
        tokenizer.no_padding()
    return tokenizer


def _build(folder: Path, files: TokenFiles) -> tuple[Tokenizer, list[PlacedToken], list[str]]:
    """Makes Qwen2's tokenizer of its older files, added tokens at their ids."""
    _check_scheme(files.config)
    missing = [name for name in (VOCABULARY_FILE, MERGES_FILE) if find(folder, name) is None]
    if missing:
        raise SourceError(
            f"{folder}: no {missing[0]}; {VOCABULARY_FILE} and {MERGES_FILE} go together, "
            "download both"
        )
    vocabulary = read_vocabulary(folder / VOCABULARY_FILE)
    merges = read_merges(folder / MERGES_FILE, vocabulary)
    with library_errors(folder / VOCABULARY_FILE):
        bare = qwen2_tokenizer(vocabulary, merges)
    tokens, idless = collect(files, bare)
    # The library numbers added tokens on from the largest id, but one that is in the vocabulary
    # keeps its own. Nothing is ever merged into such an entry, as no line of the merges names it.
    entries = vocabulary | {token.content: token.id for token in tokens}
    with library_errors(folder / VOCABULARY_FILE):
        return qwen2_tokenizer(entries, merges), tokens, idless


def _check_scheme(config: Fields) -> None:
    """Refuses vocabularies that would be read in another way than Qwen2's."""
    found = config.values.get("tokenizer_class")
    known = (*tokenizer_classes(), *QWEN2_CLASSES)
    if found not in known:
        raise config.error(
            "tokenizer_class", found, f"{', '.join(known)}, or a {TOKENIZER_FILE} beside it"
        )
    config.require("add_prefix_space", False, None)
    config.require("add_bos_token", False, None)


def _check_places(folder: Path, tokenizer: Tokenizer, tokens: list[PlacedToken]) -> None:
    for token in tokens:
        number = tokenizer.token_to_id(token.content)
        if number != token.id:
            raise SourceError(
                f"{folder / TOKENIZER_FILE}: added token {token.content[:40]!r} has id {token.id} "
                f"in tokenizer_config.json, but the next free one is {number}; the files are of "
                "different checkpoints, download them again"
            )
