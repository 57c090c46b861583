"""The chat template of a checkpoint, out of the places where it may be.

transformers looks at `chat_template.jinja` before `tokenizer_config.json`; so do we, and say so
where the two differ. `chat_template.json` belongs to processors of images, tokenizers skip it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dawn_export.errors import SourceError
from dawn_export.text.added_tokens import TOKENIZER_CONFIG_FILE
from dawn_export.text.side_files import find, read_fields, read_text
from dawn_models.fields import Fields
from dawn_runtime.native import native_errors
from dawn_runtime.template_worker import environment

TEMPLATE_FILE = "chat_template.jinja"
TEMPLATE_FIELD = "chat_template"

_NAMED_FILE = "additional_chat_templates/default.jinja"
_PROCESSOR_FILE = "chat_template.json"


def read_template(folder: Path, notes: list[str] | None = None) -> str | None:
    """Returns the chat template of a checkpoint, None if it has none.

    Of several templates in `tokenizer_config.json` the one named `default` is taken.

    Args:
        folder: The checkpoint's.
        notes: Takes a line for every template that was found and not taken.

    Raises:
        ConfigError: `chat_template` is neither a text nor a list of named ones.
        SourceError: The template is not text, or does not compile.
    """
    said = [] if notes is None else notes
    found = list(_templates(folder, said))
    if not found:
        if find(folder, _PROCESSOR_FILE) is not None:
            said.append(
                f"{_PROCESSOR_FILE} is a processor's and not read, as transformers has it; for "
                f"chats copy its template into a {TEMPLATE_FILE}"
            )
        return None
    (place, template), *others = found
    said += [
        f"{place} is the chat template, as transformers has it; another one in {other} is not read"
        for other, text in others
        if text != template
    ]
    _check(folder / place, template)
    return template


def _templates(folder: Path, notes: list[str]) -> Iterator[tuple[str, str]]:
    """Place -> template, first the one that goes before the others."""
    for name in (_NAMED_FILE, TEMPLATE_FILE):
        path = find(folder, name)
        if path is not None:
            yield name, read_text(path)
    fields = read_fields(folder, TOKENIZER_CONFIG_FILE)
    template = _configured(fields, notes)
    if template is not None:
        yield TOKENIZER_CONFIG_FILE, template


def _configured(fields: Fields, notes: list[str]) -> str | None:
    value = fields.values.get(TEMPLATE_FIELD)
    if value is None or _is_text(value):
        return value
    named = _named(value)
    if not named or not all(_is_text(text) for text in named.values()):
        raise fields.error(
            TEMPLATE_FIELD, value, "a text, or a list with a template named 'default'"
        )
    if "default" not in named:
        notes.append(
            f"{TOKENIZER_CONFIG_FILE} has chat templates named {', '.join(sorted(named)):.100}, "
            "but none named default: none is taken"
        )
    return named.get("default")


def _named(value: Any) -> dict[str, Any]:
    """Name -> template, of a list as transformers writes it or of an object; else empty."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        return {}
    pairs = [(item.get("name"), item.get("template")) for item in value]
    return {name: text for name, text in pairs if isinstance(name, str)}


def _is_text(value: object) -> bool:
    """Tells texts from other values and from what JSON alone can spell: half of a character."""
    return isinstance(value, str) and value.encode("utf-8", "ignore").decode("utf-8") == value


def _check(path: Path, template: str) -> None:
    """Refuses what is no template, without running it."""

    def refused(reason: str) -> SourceError:
        return SourceError(
            f"{path}: the chat template does not compile ({reason}); correct it, or remove it to "
            "export without one"
        )

    with native_errors(refused):
        environment().parse(template)
