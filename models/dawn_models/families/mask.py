"""Where the id of the mask is found: configuration, tokenizer, added tokens, the user's word.

In this order:

1. ``mask_token_id`` of generation_config.json or config.json;
2. the ``mask_token`` of special_tokens_map.json or tokenizer_config.json;
3. an added token that is called what the family calls its mask;
4. what the user says.

The first that is there counts, and one that says another id is refused: with a wrong mask every
answer is noise, and many families have theirs in the tokenizer alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from dawn_models.families.ids import mask_token_id
from dawn_models.families.told import Told
from dawn_models.fields import MAX_INTEGER, Fields, read_json
from dawn_models.files import present

OPTION: Final = "--mask-token-id"
"""What sets it on a command line."""

_FIELD = "mask_token_id"
_SPECIAL, _TOKENIZER = "special_tokens_map.json", "tokenizer_config.json"


def find_mask(
    config: Fields, generation: Fields, names: tuple[str, ...], told: Told
) -> tuple[int, str]:
    """The id of the mask, and where it was found.

    Args:
        config: config.json; the files of the tokenizer lie beside it.
        generation: generation_config.json.
        names: what the family calls its mask, looked for among the added tokens.
        told: what the user says.

    Raises:
        ConfigError: it is nowhere, a file is malformed, or two places name different ids.
    """
    for number, place in _places(config, generation, names):
        if told.mask_token_id not in (None, number):
            raise config.error(
                _FIELD,
                told.mask_token_id,
                f"{number}, {place}; leave {OPTION} out, or correct the file",
            )
        return number, place
    if told.mask_token_id is not None:
        return told.mask_token_id, OPTION
    expected = "an integer of at least 0, or a mask_token of the tokenizer"
    if names:
        expected += ", or an added token " + " or ".join(map(repr, names))
    raise config.error(_FIELD, None, f"{expected}; {OPTION} N sets it")


def _places(
    config: Fields, generation: Fields, names: tuple[str, ...]
) -> Iterator[tuple[int, str]]:
    """Every place that names a mask, in order; files are read when it is their turn."""
    for fields in (generation, config):
        if fields.values.get(_FIELD) is not None:
            yield mask_token_id(config, generation), f"{_FIELD} of {fields.path.name}"
    folder = config.path.parent
    tokens = _Tokens(folder)
    for file in _parts(folder):
        text = _text(_object(folder / file).get("mask_token"))
        number = None if text is None else tokens.get(text)
        if number is not None:
            yield number, f"mask_token {text!r:.40} of {file}"
    for name in names:
        number = tokens.get(name)
        if number is not None:
            yield number, f"added token {name!r} of the tokenizer"


def _parts(folder: Path) -> tuple[str, ...]:
    """The files that name a ``mask_token``, that first which transformers follows."""
    is_newer = "added_tokens_decoder" in _object(folder / _TOKENIZER)
    return (_TOKENIZER, _SPECIAL) if is_newer else (_SPECIAL, _TOKENIZER)


class _Tokens:
    """Ids of tokens by their text, in whatever file of a tokenizer they stand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ids: Mapping[str, int] | None = None

    def get(self, text: str) -> int | None:
        """The id of a token; None if no file has it.

        Raises:
            ConfigError: a file is malformed, or two have different ids.
        """
        if self._ids is None:
            self._ids = self._read()
        return self._ids.get(text)

    def _read(self) -> dict[str, int]:
        ids: dict[str, int] = {}
        for file, text, number in self._entries():
            if ids.setdefault(text, number) != number:
                raise Fields({}, self.folder / file).error(
                    text[:60], number, f"{ids[text]} as the tokenizer's other files say"
                )
        return ids

    def _entries(self) -> Iterator[tuple[str, str, int]]:
        """File, text and id of every token that is added; those of the vocabulary come last."""
        described = _object(self.folder / _TOKENIZER).get("added_tokens_decoder")
        for number, entry in _items(described):
            if number.isascii() and number.isdecimal() and len(number) <= len(str(MAX_INTEGER)):
                yield from _entry(_TOKENIZER, _text(entry), int(number))
        for text, value in _object(self.folder / "added_tokens.json").items():
            yield from _entry("added_tokens.json", text, value)
        whole = _object(self.folder / "tokenizer.json")
        listed = whole.get("added_tokens")
        for item in listed if isinstance(listed, list) else []:
            if isinstance(item, dict):
                yield from _entry("tokenizer.json", _text(item), item.get("id"))
        model = whole.get("model")
        vocabulary = model.get("vocab") if isinstance(model, dict) else None
        for text, value in _items(vocabulary):
            yield from _entry("tokenizer.json", text, value)


def _entry(file: str, text: str | None, number: object) -> Iterator[tuple[str, str, int]]:
    """A token with an id that can be one; others are the tokenizer's reader's to refuse."""
    if text and isinstance(number, int) and not isinstance(number, bool) and number >= 0:
        yield file, text, number


def _object(path: Path) -> Mapping[str, Any]:
    """The content of a JSON file; nothing where there is none."""
    return read_json(path) if present(path) else {}


def _items(value: object) -> Iterator[tuple[str, Any]]:
    yield from value.items() if isinstance(value, dict) else ()


def _text(value: Any) -> str | None:
    """A token is written as its text, or as an object that holds it."""
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else None
