"""What a family is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from dawn_models.anatomy import parameter_shapes, split_name
from dawn_models.config import ModelConfig
from dawn_models.errors import ConfigError
from dawn_models.families.table import FieldTable
from dawn_models.fields import Fields

MAX_LAYERS = 1024
"""Most layers a configuration may ask for; published models have about a tenth."""


@dataclass(frozen=True)
class Release:
    """A published checkpoint that one types by a short name.

    Attributes:
        name: what one types.
        repository: its id on the Hugging Face Hub.
        licence: what the model card was seen to state; None where none was seen. The card counts.
    """

    name: str
    repository: str
    licence: str | None = None


@dataclass(frozen=True)
class Family:
    """A line of checkpoints that share configuration fields and weight names.

    Attributes:
        name: our name, used in manifests and on command lines.
        model_type: the value of ``model_type`` in config.json.
        parse: turns the fields of config.json and generation_config.json into a `ModelConfig`.
        table: what else config.json may hold.
        weight_names: parameter of our transformer -> tensor of the checkpoint; names of layer
            parameters (without the ``layers.<i>.`` prefix) map to names that hold ``{i}``. Names
            of parameters that a configuration has not do no harm.
        end_tokens: special tokens that end an answer where the tokenizer has them, beside
            the end tokens of the configuration.
        forbidden: ids that the model was not trained to predict and must not, the mask aside.
        ignored: tensors matching this pattern carry nothing that is learned.
        dawn_options: thresholds published for decoding it with DAWN (arXiv 2602.06953, evaluation
            scripts: 256 new tokens, blocks of 32, batch 1); empty where none were, which leaves
            those of the rule.
        tokenizer_classes: its own classes of Python code that mean Qwen2's tokenizer, read from
            vocab.json and merges.txt.
        releases: its published checkpoints that have short names.
    """

    name: str
    model_type: str
    parse: Callable[[Fields, Fields], ModelConfig]
    table: FieldTable
    weight_names: Mapping[str, str]
    end_tokens: tuple[str, ...]
    forbidden: tuple[int, ...] = ()
    ignored: re.Pattern[str] | None = None
    dawn_options: Mapping[str, float] = field(default_factory=dict)
    tokenizer_classes: tuple[str, ...] = ()
    releases: tuple[Release, ...] = ()

    def read_config(self, config: Fields, generation: Fields) -> ModelConfig:
        """Parse and cross-check a configuration; what is not read is said in `Fields.notes`.

        Raises:
            ConfigError: a field is missing, has the wrong type, or is not implemented.
        """
        self.table.check_required(config)
        parsed = replace(self.parse(config, generation), forbidden_token_ids=self.forbidden)
        self.table.check_others(config, parsed)
        _check_geometry(parsed, config)
        return parsed

    def tensor_names(self, config: ModelConfig) -> dict[str, str]:
        """Every parameter of our transformer -> its tensor's name in the checkpoint."""
        names = {}
        for parameter in parameter_shapes(config):
            layer, name = split_name(parameter)
            names[parameter] = self.weight_names[name].format(i=layer)
        return names


def _check_geometry(config: ModelConfig, fields: Fields) -> None:
    if config.num_heads % config.num_kv_heads:
        raise ConfigError(
            f"{fields.path}: {config.num_kv_heads} key/value heads do not divide "
            f"{config.num_heads} query heads"
        )
    if config.head_dim % 2:
        raise ConfigError(
            f"{fields.path}: heads of width {config.head_dim}, expected an even width "
            f"(RoPE rotates halves)"
        )
    special = (config.mask_token_id, *config.eos_token_ids, config.pad_token_id or 0)
    if max(special) >= config.vocab_size:
        raise ConfigError(
            f"{fields.path}: token id {max(special)} of mask, eos or pad is outside the "
            f"vocabulary of {config.vocab_size}"
        )
    barred = config.barred_token_ids
    if max(barred) >= config.vocab_size:
        raise ConfigError(
            f"{fields.path}: the family {config.family} forbids token id {max(barred)}, which is "
            f"outside the vocabulary of {config.vocab_size}"
        )
    if len(barred) == config.vocab_size or set(barred).intersection(config.eos_token_ids):
        raise ConfigError(
            f"{fields.path}: token ids {list(barred)} (the mask and what the family forbids) are "
            "never predicted, but one of them ends an answer, or there is no other token"
        )


def head_dim_of(
    fields: Fields, width_field: str, hidden_size: int, heads_field: str, heads: int
) -> int:
    """Width of one head where the configuration gives only the model's width.

    Raises:
        ConfigError: the heads do not divide the width.
    """
    if hidden_size % heads:
        raise fields.error(width_field, hidden_size, f"a multiple of {heads_field} = {heads}")
    return hidden_size // heads
