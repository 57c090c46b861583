"""Added tokens of a checkpoint: what they are, at which id, and how they are found in a text.

Hugging Face tokenizers scatter them over three files, put together here as transformers does:

1. `added_tokens_decoder` of `tokenizer_config.json`: id -> token with its flags;
2. `added_tokens.json` of older checkpoints: text -> id, flags by default;
3. a token that plays a part (`eos_token`, `mask_token`, ...) in `tokenizer_config.json` or
   `special_tokens_map.json` is special, whatever its flags say. Where the two name different ones
   for a part, the latter is the older file: it counts where there is no `added_tokens_decoder`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from dawn_export.errors import SourceError
from dawn_export.text.side_files import read_fields
from dawn_models.fields import MAX_INTEGER, Fields

TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"

_LISTS = ("additional_special_tokens", "extra_special_tokens")


@dataclass(frozen=True, slots=True)
class PlacedToken:
    """An added token at its id.

    Attributes:
        content: Its text.
        id: Its id, 0 or more.
        special: Whether it is left out of decoded text.
        normalized: Whether it is looked for in normalised text, not in the text as it is.
        lstrip: Whether it takes white space on its left with it.
        rstrip: Whether it takes white space on its right with it.
        single_word: Whether it is found only where no letter or digit touches it.
    """

    content: str
    id: int
    special: bool
    normalized: bool
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False

    def to_library(self) -> AddedToken:
        """Returns it as the `tokenizers` library knows it."""
        return AddedToken(
            self.content,
            single_word=self.single_word,
            lstrip=self.lstrip,
            rstrip=self.rstrip,
            normalized=self.normalized,
            special=self.special,
        )


@dataclass(frozen=True, slots=True)
class TokenFiles:
    """The three files, each without fields where the checkpoint lacks it.

    Attributes:
        config: `tokenizer_config.json`.
        special: `special_tokens_map.json`.
        older: `added_tokens.json`.
    """

    config: Fields
    special: Fields
    older: Fields

    @classmethod
    def read(cls, folder: Path) -> TokenFiles:
        """Reads the files of a checkpoint.

        Raises:
            ConfigError: A file is not a JSON object.
            SourceError: A file is a link that leads out of the folder.
        """
        names = (TOKENIZER_CONFIG_FILE, SPECIAL_TOKENS_FILE, ADDED_TOKENS_FILE)
        return cls(*(read_fields(folder, name) for name in names))

    def parts(self) -> dict[str, str]:
        """Returns the tokens that play a part: `eos_token` and its like -> text."""
        older, newer = _parts(self.special), _parts(self.config)
        return newer | older if self._is_older else older | newer

    @property
    def _is_older(self) -> bool:
        return "added_tokens_decoder" not in self.config.values

    def notes(self) -> list[str]:
        """Returns a line for every part that the files give to different tokens."""
        older, newer, names = _parts(self.special), _parts(self.config), [self.special, self.config]
        taken, left = names if self._is_older else reversed(names)
        return [
            f"{name} is {self.parts()[name]!r:.60} of {taken.path.name}; "
            f"{left.path.name} has another one, not read"
            for name in sorted(older.keys() & newer.keys())
            if older[name] != newer[name]
        ]


def collect(files: TokenFiles, tokenizer: Tokenizer) -> tuple[list[PlacedToken], list[str]]:
    """Puts together what has to be added to a tokenizer.

    Args:
        files: Where it is written.
        tokenizer: Knows the ids of the vocabulary, perhaps of added tokens too.

    Returns:
        The tokens by id, and the texts of tokens that play a part but have no id anywhere.

    Raises:
        ConfigError: A field is malformed.
        SourceError: Two tokens claim one id, or one token two.
    """
    special = {*files.parts().values(), *_listed(files.config), *_listed(files.special)}
    tokens: dict[str, PlacedToken] = {}
    for token in (*_described(files.config), *_numbered(files.older, special)):
        known = tokens.setdefault(token.content, token)
        if known.id != token.id:
            raise _collision(files, token, token.content, known.id)
    settled = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    idless = []
    for content in sorted(special):
        number = tokenizer.token_to_id(content)
        if content in tokens:
            tokens[content] = replace(tokens[content], special=True)
        elif number is None:
            idless.append(content)
        elif content not in settled:
            tokens[content] = PlacedToken(content, number, special=True, normalized=False)
    placed = sorted(tokens.values(), key=lambda token: token.id)
    _check_ids(files, placed, tokenizer)
    return placed, idless


def changed_flags(tokenizer: Tokenizer, tokens: Sequence[PlacedToken]) -> list[str]:
    """Returns a line about tokens whose flags in tokenizer.json are not those that are followed."""
    stored = tokenizer.get_added_tokens_decoder()
    flags = ("normalized", "lstrip", "rstrip", "single_word")
    changed = [
        token.content
        for token in tokens
        if token.id in stored
        and any(getattr(token, flag) != getattr(stored[token.id], flag) for flag in flags)
    ]
    if not changed:
        return []
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return [
        f"flags of the added token {changed[0]!r:.60}{more} are those of {TOKENIZER_CONFIG_FILE}, "
        "as transformers has it, not those of tokenizer.json"
    ]


def place(tokenizer: Tokenizer, tokens: Sequence[PlacedToken]) -> None:
    """Adds tokens with their flags; the flags of one that is there already are replaced.

    A token that is in the vocabulary keeps its id; others are numbered on from the largest id.
    """
    tokenizer.add_tokens([token.to_library() for token in tokens])


def _parts(fields: Fields) -> dict[str, str]:
    named = {name: _text(value) for name, value in fields.values.items()}
    return {name: text for name, text in named.items() if text and name.endswith("_token")}


def _text(value: Any) -> str | None:
    """A token is written as its text, or as an object that holds it."""
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else None


def _listed(fields: Fields) -> Iterator[str]:
    for name in _LISTS:
        value = fields.values.get(name) or []
        entries = list(value.values()) if isinstance(value, dict) else value
        texts = [_text(entry) for entry in entries] if isinstance(entries, list) else [None]
        if None in texts:
            raise fields.error(name, value, "a list of tokens")
        yield from (text for text in texts if text)


def _described(config: Fields) -> Iterator[PlacedToken]:
    field = "added_tokens_decoder"
    entries = config.values.get(field) or {}
    if not isinstance(entries, dict):
        raise config.error(field, entries, "an object of ids to tokens")
    for number, entry in entries.items():
        content = _text(entry)
        if not (_is_id(number) and content and isinstance(entry, dict)):
            raise config.error(
                f"{field}.{number[:20]}",
                entry,
                f"an id up to {MAX_INTEGER}, an object with 'content'",
            )
        flags = Fields(entry, config.path)
        special = flags.boolean("special", default=False)
        yield PlacedToken(
            content,
            int(number),
            special=special,
            normalized=flags.boolean("normalized", default=not special),
            lstrip=flags.boolean("lstrip", default=False),
            rstrip=flags.boolean("rstrip", default=False),
            single_word=flags.boolean("single_word", default=False),
        )


def _is_id(text: str) -> bool:
    digits = text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_INTEGER))
    return digits and int(text) <= MAX_INTEGER


def _numbered(older: Fields, special: set[str]) -> Iterator[PlacedToken]:
    for content in older.values:
        flag = content in special
        yield PlacedToken(content, older.integer(content), special=flag, normalized=not flag)


def _check_ids(files: TokenFiles, placed: Sequence[PlacedToken], tokenizer: Tokenizer) -> None:
    owners: dict[int, str] = {}
    for token in placed:
        known = tokenizer.token_to_id(token.content)
        if known not in (None, token.id):
            raise _collision(files, token, token.content, known)
        owner = owners.setdefault(token.id, token.content)
        if owner == token.content:
            owner = tokenizer.id_to_token(token.id) or owner
        if owner != token.content:
            raise _collision(files, token, owner, token.id)


def _collision(files: TokenFiles, token: PlacedToken, other: str, number: int) -> SourceError:
    return SourceError(
        f"{files.config.path.parent}: added token {token.content[:40]!r} with id {token.id} "
        f"collides with {other[:40]!r}, id {number}; download the tokenizer's files again"
    )
