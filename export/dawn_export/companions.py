"""What an artifact holds beside the graph: configuration, tokenizer and chat template.

These are real files of the artifact's own, whatever they were in the checkpoint, and none of them
asks for code:

    config.json, generation_config.json     taken over
    tokenizer.json, tokenizer_config.json   see `dawn_export.tokenizer`
    chat_template.jinja                     taken over, or out of tokenizer_config.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeGuard

from dawn_export.added_tokens import TOKENIZER_CONFIG_FILE
from dawn_export.side_files import find, read_bytes, read_fields, read_text
from dawn_export.tokenizer import TOKENIZER_FILE, ReadTokenizer, library_errors, read_tokenizer
from dawn_models import Checkpoint

TEMPLATE_FILE = "chat_template.jinja"
COPIED_FILES = ("config.json", "generation_config.json")
"""Taken over byte by byte."""

_TEMPLATE_FIELD, _DEFAULT = "chat_template", "default"


def write_companions(checkpoint: Checkpoint, folder: Path) -> tuple[str, ...]:
    """Writes the files that tell what the model is and how text becomes ids and back.

    Args:
        checkpoint: Where they come from.
        folder: The artifact's.

    Returns:
        Warnings: what is missing or does not fit the model.

    Raises:
        ConfigError: A JSON file is malformed.
        SourceError: A file is broken or links out of the checkpoint, or ids collide.
    """
    for name in COPIED_FILES:
        path = find(checkpoint.folder, name)
        if path is not None:
            (folder / name).write_bytes(read_bytes(path))
    tokenizer = read_tokenizer(checkpoint.folder)
    if tokenizer is None:
        return (f"the checkpoint has no {TOKENIZER_FILE}: the artifact decodes token ids only",)
    template = read_template(checkpoint.folder)
    _write_tokenizer(tokenizer, folder)
    if template is not None:
        (folder / TEMPLATE_FILE).write_text(template, encoding="utf-8")
    return tuple(_warnings(tokenizer, template, checkpoint.config.vocab_size))


def read_template(folder: Path) -> str | None:
    """Returns the chat template of a checkpoint, None if it has none.

    `chat_template.jinja` goes before the `chat_template` of `tokenizer_config.json`; of several
    templates there, the one named `default` is taken. Without one there is none: which of the
    others is meant, only the caller knows.

    Raises:
        ConfigError: `chat_template` is neither a text nor a list of named ones.
        SourceError: The file is not text.
    """
    path = find(folder, TEMPLATE_FILE)
    if path is not None:
        return read_text(path)
    fields = read_fields(folder, TOKENIZER_CONFIG_FILE)
    value = fields.values.get(_TEMPLATE_FIELD)
    named = _named_templates(value)
    if value is None or (named and _DEFAULT not in named):
        return None
    template = named.get(_DEFAULT, value)
    if not _is_text(template):
        expected = "a text, or a list of templates with names, such as 'default'"
        raise fields.error(_TEMPLATE_FIELD, value, expected)
    return template


def _named_templates(value: object) -> dict[str, str]:
    """Returns the templates of a list by name; none if an entry is something else."""
    entries = value if isinstance(value, list) else []
    named = {}
    for entry in entries:
        fields = entry if isinstance(entry, dict) else {}
        name, template = fields.get("name"), fields.get("template")
        if not _is_text(name) or not _is_text(template):
            return {}
        named[name] = template
    return named


def _is_text(value: object) -> TypeGuard[str]:
    """Tells texts from other values and from what JSON alone can spell: half of a character."""
    return isinstance(value, str) and value.encode("utf-8", "ignore").decode("utf-8") == value


def _write_tokenizer(tokenizer: ReadTokenizer, folder: Path) -> None:
    # Not its `save`, which raises a bare Exception where the disk is full.
    with library_errors(folder / TOKENIZER_FILE):
        text = tokenizer.tokenizer.to_str(pretty=True)
    (folder / TOKENIZER_FILE).write_text(text, encoding="utf-8")
    # The template has a file of its own; one place to look, one to edit.
    config = {name: v for name, v in tokenizer.config.items() if name != _TEMPLATE_FIELD}
    text = json.dumps(config, indent=2)
    (folder / TOKENIZER_CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def _warnings(tokenizer: ReadTokenizer, template: str | None, vocab_size: int) -> list[str]:
    warnings = []
    if template is None:
        names = ", ".join(map(repr, _named_templates(tokenizer.config.get(_TEMPLATE_FIELD))))
        which = f"no chat template named 'default', but {names}" if names else "no chat template"
        warnings.append(f"the checkpoint has {which}: give whole prompts, or add a {TEMPLATE_FILE}")
    if tokenizer.idless:
        warnings.append(
            f"{TOKENIZER_CONFIG_FILE} names the special token {tokenizer.idless[0]!r}, which has "
            f"no id{_and_more(len(tokenizer.idless))}: it is ordinary text"
        )
    largest = max(tokenizer.tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    if largest >= vocab_size:
        warnings.append(
            f"the tokenizer has ids up to {largest}, the model only up to {vocab_size - 1}: "
            "texts with these tokens are refused"
        )
    return warnings


def _and_more(count: int) -> str:
    return f" (and {count - 1} more)" if count > 1 else ""
