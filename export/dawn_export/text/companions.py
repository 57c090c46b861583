"""What an artifact holds beside the graph: configuration, tokenizer and chat template.

These are real files of the artifact's own, whatever they were in the checkpoint, and none of them
asks for code:

    config.json, generation_config.json     taken over
    LICENSE, NOTICE                         taken over: who passes weights on passes these on too
    tokenizer.json, tokenizer_config.json   see `dawn_export.text.tokenizer`
    chat_template.jinja                     see `dawn_export.text.template`
"""

from __future__ import annotations

import json
from pathlib import Path

from dawn_export.errors import SourceError
from dawn_export.text.added_tokens import TOKENIZER_CONFIG_FILE
from dawn_export.text.side_files import find, read_bytes
from dawn_export.text.template import TEMPLATE_FIELD, TEMPLATE_FILE, read_template
from dawn_export.text.tokenizer import (
    MODEL_FILE,
    TOKENIZER_FILE,
    ReadTokenizer,
    library_errors,
    read_tokenizer,
)
from dawn_models import Checkpoint
from dawn_models.files import LICENCE_FILES

COPIED_FILES = ("config.json", "generation_config.json", *LICENCE_FILES)
"""Taken over byte by byte."""


def write_companions(checkpoint: Checkpoint, folder: Path) -> tuple[str, ...]:
    """Writes the files that tell what the model is and how text becomes ids and back.

    Args:
        checkpoint: Where they come from.
        folder: The artifact's.

    Returns:
        Warnings: what is missing or does not fit the model, and what was found and not followed.

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
        return (_no_tokenizer(checkpoint.folder),)
    notes = list(tokenizer.notes)
    template = read_template(checkpoint.folder, notes)
    notes += _check_mask(checkpoint, tokenizer)
    _write_tokenizer(tokenizer, folder)
    if template is not None:
        (folder / TEMPLATE_FILE).write_text(template, encoding="utf-8")
    notes += _other_ids(checkpoint, tokenizer)
    return (*notes, *_warnings(tokenizer, template, checkpoint.config.vocab_size))


def _no_tokenizer(folder: Path) -> str:
    warning = f"the checkpoint has no {TOKENIZER_FILE}: the artifact decodes token ids only"
    if find(folder, MODEL_FILE) is None:
        return warning
    return f"{warning}; {MODEL_FILE} is not read, let transformers make a {TOKENIZER_FILE} of it"


def _check_mask(checkpoint: Checkpoint, tokenizer: ReadTokenizer) -> list[str]:
    """Refuses two masks: with the wrong one, every answer is noise.

    One that the model has no row for is no such claim; its tokenizer is of a larger model.
    """
    text, number = tokenizer.part("mask_token")
    config = checkpoint.config
    if number in (None, config.mask_token_id):
        return []
    problem = (
        f"mask_token {text!r:.60} of the tokenizer is id {number}, but mask_token_id is "
        f"{config.mask_token_id}"
    )
    if number is not None and number >= config.vocab_size:
        return [f"{problem}, which is used"]
    raise SourceError(f"{checkpoint.folder}: {problem}; correct the one that is wrong")


def _other_ids(checkpoint: Checkpoint, tokenizer: ReadTokenizer) -> list[str]:
    """What the tokenizer says of end and padding, where it differs from what is followed."""
    notes, config = [], checkpoint.config
    text, number = tokenizer.part("eos_token")
    named = {tokenizer.tokenizer.token_to_id(token) for token in checkpoint.family.end_tokens}
    if number is not None and number not in (*config.eos_token_ids, *named):
        notes.append(
            f"eos_token {text!r:.60} of the tokenizer, id {number}, ends no answer: "
            f"eos_token_id is {list(config.eos_token_ids)}"
        )
    text, number = tokenizer.part("pad_token")
    if None not in (number, config.pad_token_id) and number != config.pad_token_id:
        notes.append(
            f"pad_token {text!r:.60} of the tokenizer, id {number}, is not used: "
            f"pad_token_id is {config.pad_token_id}"
        )
    return notes


def _write_tokenizer(tokenizer: ReadTokenizer, folder: Path) -> None:
    # Not its `save`, which raises a bare Exception where the disk is full.
    with library_errors(folder / TOKENIZER_FILE):
        text = tokenizer.tokenizer.to_str(pretty=True)
    (folder / TOKENIZER_FILE).write_text(text, encoding="utf-8")
    # The template has a file of its own; one place to look, one to edit.
    config = {name: v for name, v in tokenizer.config.items() if name != TEMPLATE_FIELD}
    text = json.dumps(config, indent=2)
    (folder / TOKENIZER_CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def _warnings(tokenizer: ReadTokenizer, template: str | None, vocab_size: int) -> list[str]:
    warnings = []
    if template is None:
        warnings.append(
            f"the checkpoint has no chat template: give whole prompts, or add a {TEMPLATE_FILE}"
        )
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
