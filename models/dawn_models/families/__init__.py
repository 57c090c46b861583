"""The families we know: a family is a config reader plus a table of weight names."""

from __future__ import annotations

from pathlib import Path

from dawn_models.config import ModelConfig
from dawn_models.errors import ConfigError
from dawn_models.families.dream import DREAM
from dawn_models.families.family import Family
from dawn_models.families.llada import LLADA
from dawn_models.families.unsupported import unsupported_model
from dawn_models.fields import MAX_CONFIG_BYTES, Fields, read_json
from dawn_models.files import present

FAMILIES: dict[str, Family] = {family.model_type: family for family in (DREAM, LLADA)}
"""By the ``model_type`` of config.json."""


def read_config(folder: Path, notes: list[str] | None = None) -> tuple[Family, ModelConfig]:
    """Read ``config.json`` (and ``generation_config.json``, if any) of a checkpoint folder.

    Args:
        folder: the checkpoint.
        notes: takes a line for everything that was found and not followed.

    Raises:
        ConfigError: unknown ``model_type``, or a field that is missing or not implemented.
    """
    path = folder / "config.json"
    fields = Fields(read_json(path, limit=MAX_CONFIG_BYTES), path, notes)
    family = _family_of(fields)
    generation = folder / "generation_config.json"
    extra = read_json(generation, limit=MAX_CONFIG_BYTES) if present(generation) else {}
    return family, family.read_config(fields, Fields(extra, generation))


def _family_of(fields: Fields) -> Family:
    model_type = fields.values.get("model_type")
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    other = unsupported_model(fields.values, tuple(FAMILIES))
    if family is None or other is not None:
        expected = " or ".join(repr(name) for name in FAMILIES)
        if other is not None:
            expected += f"; this is {other}, and not supported yet"
        raise fields.error("model_type", model_type, expected)
    return family


def tokenizer_classes() -> tuple[str, ...]:
    """Classes of the families that mean Qwen2's tokenizer, see `Family.tokenizer_classes`."""
    return tuple(name for family in FAMILIES.values() for name in family.tokenizer_classes)


def family_named(name: str) -> Family:
    """The family with this name (``ModelConfig.family``).

    Raises:
        ConfigError: there is none.
    """
    for family in FAMILIES.values():
        if family.name == name:
            return family
    raise ConfigError(
        f"unknown family {name!r}, expected one of {[f.name for f in FAMILIES.values()]}"
    )
