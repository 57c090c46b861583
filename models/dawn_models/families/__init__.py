"""The families we know: a family is a config reader plus a table of weight names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dawn_models.config import ModelConfig
from dawn_models.errors import ConfigError
from dawn_models.families.a2d import A2D_BD3LM, A2D_MDLM
from dawn_models.families.coda import CODA
from dawn_models.families.dream import DREAM
from dawn_models.families.dream_reasoner import DREAM_REASONER
from dawn_models.families.family import Family
from dawn_models.families.fast_dllm import FAST_DLLM_V2
from dawn_models.families.illada import ILLADA
from dawn_models.families.llada import LLADA
from dawn_models.families.mask import find_mask
from dawn_models.families.nemotron import NEMOTRON
from dawn_models.families.open_dcoder import OPEN_DCODER
from dawn_models.families.sdar import SDAR
from dawn_models.families.told import NOTHING, Told
from dawn_models.families.unsupported import unsupported_model
from dawn_models.families.wedlm import WEDLM
from dawn_models.fields import MAX_CONFIG_BYTES, Fields, read_json
from dawn_models.files import present

_FAMILIES = (
    *(DREAM, LLADA, ILLADA, A2D_MDLM, A2D_BD3LM, OPEN_DCODER, CODA),
    *(SDAR, DREAM_REASONER, FAST_DLLM_V2, WEDLM, NEMOTRON),
)


def _by_key(families: Iterable[Family]) -> dict[str, Family]:
    found: dict[str, Family] = {}
    for family in families:
        key = family.name if family.model_type in found else family.model_type
        found[key] = family
    return found


FAMILIES: dict[str, Family] = _by_key(_FAMILIES)
"""By the ``model_type`` of config.json; by its name where an earlier one has the same."""


@dataclass(frozen=True)
class Described:
    """What the configuration files of a checkpoint say.

    Attributes:
        family: the family that reads it.
        config: the model.
        fields: config.json.
        mask_source: where the id of the mask was found.
    """

    family: Family
    config: ModelConfig
    fields: Fields
    mask_source: str


def read_config(
    folder: Path, notes: list[str] | None = None, told: Told = NOTHING
) -> tuple[Family, ModelConfig]:
    """Read ``config.json`` (and ``generation_config.json``, if any) of a checkpoint folder.

    Args:
        folder: the checkpoint.
        notes: takes a line for everything that was found and not followed.
        told: what the user says of it.

    Raises:
        ConfigError: unknown ``model_type``, or a field that is missing or not implemented.
    """
    found = describe(folder, notes, told)
    return found.family, found.config


def describe(folder: Path, notes: list[str] | None = None, told: Told = NOTHING) -> Described:
    """Read what `read_config` reads, and keep what else is known of it; arguments as there."""
    path = folder / "config.json"
    fields = Fields(read_json(path, limit=MAX_CONFIG_BYTES), path, notes)
    family = family_of(fields, told)
    if told.no_draft_adapter and not family.draft_folder:
        raise ConfigError(
            f"{path}: {family.name} has no adapter for drafts; leave --no-draft-adapter out"
        )
    generation = folder / "generation_config.json"
    extra = read_json(generation, limit=MAX_CONFIG_BYTES) if present(generation) else {}
    beside = Fields(extra, generation)
    mask, source = find_mask(fields, beside, family.mask_names, told)
    known = {"mask_token_id": mask, **_block_length(fields, family, told)}
    fields = Fields({**fields.values, **known}, path, fields.notes)
    return Described(family, family.read_config(fields, beside), fields, source)


def _block_length(fields: Fields, family: Family, told: Told) -> dict[str, int]:
    """The field of the length of blocks, where the user says what no file does."""
    name = family.block_field
    if told.trained_block is None:
        silent = name is not None and fields.values.get(name) is None
        return {name: told.usual_block} if name and silent and told.usual_block else {}
    if name is None:
        raise ConfigError(
            f"{fields.path}: trained block: got {told.trained_block}, but {family.name} has no "
            "blocks of a trained length; leave --trained-block out"
        )
    stated = fields.optional_integer(name)
    if stated not in (None, told.trained_block):
        raise fields.error(
            name, stated, f"{told.trained_block} as --trained-block says; leave that out"
        )
    return {name: told.trained_block}


def family_of(fields: Fields, told: Told) -> Family:
    """The family by the word of the user, or else by what the fields say.

    Raises:
        ConfigError: it is none of ours, or the fields leave open which.
    """
    values, families = fields.values, tuple(FAMILIES.values())
    if told.family is not None:
        named = family_named(told.family)
        if not named.describes(values):
            raise _unknown(fields, f"{_choices(named.types)} for the family {named.name}", families)
        _check_class(fields, named, families)
        return named
    fitting = [family for family in families if family.describes(values)]
    certain = [family for family in fitting if not family.ambiguous]
    if len(certain) == 1:
        _check_class(fields, certain[0], families)
        return certain[0]
    if fitting:
        names = " or ".join(f"--family {family.name}" for family in fitting)
        raise fields.error(
            "model_type",
            values["model_type"],
            f"{names} beside it: {fitting[0].ambiguous}, and no file says which",
        )
    types = dict.fromkeys(name for family in families for name in family.types)
    raise _unknown(fields, _choices(types), families)


def _check_class(fields: Fields, family: Family, families: tuple[Family, ...]) -> None:
    """Refuses a file that names the class of another family: one of the two is wrong."""
    named = fields.values.get("architectures")
    for name in named if isinstance(named, list) else [named]:
        owners = [other.name for other in families if name in other.classes]
        if owners and family.name not in owners:
            raise fields.error(
                "architectures",
                named,
                f"a class of {family.name}, which the other fields describe; {name} is one of "
                f"{' or '.join(owners)}",
            )


def _unknown(fields: Fields, expected: str, families: tuple[Family, ...]) -> ConfigError:
    read = tuple(name for family in families for name in family.types)
    other = unsupported_model(fields.values, read)
    if other is not None:
        expected += f"; this is {other}, and not supported yet"
    return fields.error("model_type", fields.values.get("model_type"), expected)


def _choices(names: Iterable[str]) -> str:
    return " or ".join(map(repr, names))


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
