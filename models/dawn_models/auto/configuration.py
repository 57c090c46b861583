"""A configuration of transformers that says what our own reader of config.json says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields as attributes
from pathlib import Path
from typing import Any, ClassVar

from transformers import PreTrainedConfig

from dawn_models.checkpoint import Checkpoint
from dawn_models.config import ModelConfig
from dawn_models.errors import ConfigError
from dawn_models.families import family_of
from dawn_models.families.family import Family
from dawn_models.families.told import Told
from dawn_models.fields import MAX_CONFIG_BYTES, Fields, read_json
from dawn_models.files import present

OF_LLADA: Mapping[str, str] = {
    "hidden_size": "d_model",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "num_key_value_heads": "n_kv_heads",
    "intermediate_size": "mlp_hidden_size",
    "max_position_embeddings": "max_sequence_length",
    "tie_word_embeddings": "weight_tying",
}
"""What transformers and trainers ask for -> what LLaDA calls it."""

_FLAGS: Mapping[str, str] = {
    "--family": "the argument dawn_family",
    "--mask-token-id": "the argument mask_token_id",
    "--trained-block": "the field of config.json",
}
"""Flag of dawn-export -> what says the same to `from_pretrained`."""

_GENERATION_FILE = "generation_config.json"
_OF_GENERATION = ("expand_token_id",)
"""Fields that a family may have there alone, ids of end, padding and mask aside."""


@contextmanager
def arguments_for_flags() -> Iterator[None]:
    """Adds to a message that names flags of dawn-export what they are called here."""
    try:
        yield
    except ConfigError as error:
        here = [f"{flag} is {name} here" for flag, name in _FLAGS.items() if flag in str(error)]
        if not here:
            raise
        raise ConfigError("; ".join((str(error), *here))) from error


class DawnConfig(PreTrainedConfig):
    """The fields of a config.json, and the family that they describe.

    Attributes:
        dawn_family: name of the family where the fields leave it open; never written.
        mask_token_id: the token that stands for "not yet known".
    """

    # Annotated in transformers' words: it makes a dataclass of this.
    attribute_map: ClassVar[dict[str, str]] = {}
    dawn_family: str | None = None
    mask_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Take the other fields; what transformers calls by a newer name is kept by that."""
        scaling = kwargs.pop("rope_scaling", None)
        if scaling is not None and kwargs.setdefault("rope_parameters", scaling) != scaling:
            raise ConfigError(
                "config.json: field 'rope_scaling': got something else than 'rope_parameters' "
                "says; correct the one that is wrong"
            )
        kwargs.pop("auto_map", None)  # our classes need no code from the checkpoint
        super().__post_init__(**kwargs)
        # transformers overwrites it with the name of its own class when it saves.
        self._named_classes = None if self.architectures is None else list(self.architectures)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Take the fields of a config.json, and refuse at once what no family of ours is.

        Raises:
            ConfigError: another model's fields, or the family has to be said (`dawn_family`).
        """
        told = {name: kwargs[name] for name in ("dawn_family",) if kwargs.get(name) is not None}
        found = super().from_dict({**config_dict, **told}, **kwargs)
        (found[0] if isinstance(found, tuple) else found).family()
        return found

    def to_dict(self) -> dict[str, Any]:
        """The fields, for config.json: they name the published classes and ask for no code."""
        values: dict[str, Any] = super().to_dict()
        named = values.pop("_named_classes", None)
        values["architectures"] = named
        values.pop("dawn_family", None)
        return values

    def family(self) -> Family:
        """The family that the fields, or the user, name.

        Raises:
            ConfigError: none of ours, or several.
        """
        with arguments_for_flags():
            return family_of(self._fields(), Told(family=self.dawn_family))

    def parsed(self) -> ModelConfig:
        """What the fields say, as our transformer takes it.

        Raises:
            ConfigError: a field is missing, malformed or not implemented.
        """
        fields, family = self._fields(), self.family()
        with arguments_for_flags():
            return family.read_config(fields, Fields({}, fields.path))

    def settle(self, checkpoint: Checkpoint) -> None:
        """Take over what other files of a checkpoint say: ids, and whether the head is its own.

        Raises:
            ConfigError: the fields were changed to those of another model.
        """
        config = checkpoint.config
        self.mask_token_id = config.mask_token_id
        ids = list(config.eos_token_ids)
        self.eos_token_id = ids[0] if len(ids) == 1 else ids or None
        self.pad_token_id = config.pad_token_id
        self.tie_word_embeddings = config.tied_head
        beside = checkpoint.folder / _GENERATION_FILE
        values = read_json(beside, limit=MAX_CONFIG_BYTES) if present(beside) else {}
        for name in _OF_GENERATION:
            if values.get(name) is not None:
                setattr(self, name, values[name])
        _check_same(checkpoint.folder, self.parsed(), config)

    def _fields(self) -> Fields:
        # The folder may be gone, and other files in it are read with the weights.
        return Fields(self.to_diff_dict(), Path("config.json"))


def _check_same(folder: Path, given: ModelConfig, stored: ModelConfig) -> None:
    for attribute in attributes(ModelConfig):
        one, other = getattr(given, attribute.name), getattr(stored, attribute.name)
        if one != other:
            raise ConfigError(
                f"{folder}: {attribute.name}: got {one} in the configuration, expected {other} as "
                "the checkpoint says; change config.json in the folder, or make the model with "
                "from_config"
            )
