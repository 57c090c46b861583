"""What a family is."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from dawn_models.anatomy import parameter_shapes, split_name
from dawn_models.config import FULL, ModelConfig
from dawn_models.errors import ConfigError
from dawn_models.families.table import FieldTable
from dawn_models.fields import Fields

LOGITS: Final = "logits"
LOGITS_AND_TEXT: Final = "logits, text"
"""Values of `Family.golden`."""

MAX_LAYERS: Final = 1024
"""Most layers a configuration may ask for; published models have about a tenth."""


@dataclass(frozen=True)
class Release:
    """A published checkpoint that one types by a short name.

    Attributes:
        name: what one types.
        repository: its id on the Hugging Face Hub.
        licence: what the model card was seen to state; None where none was seen. The card counts.
        size: parameters, such as ``0.6B``; None where it is not known to us.
        usual_block: tokens in a block, for a configuration that may not say so.
    """

    name: str
    repository: str
    licence: str | None = None
    size: str | None = None
    usual_block: int | None = None


@dataclass(frozen=True)
class Decoding:
    """How a family's authors decode, as far as a rule of the runtime says it.

    Attributes:
        policy: name of the rule.
        options: its options.
        block_length: tokens in a block, or in a window that moves.
        max_new_tokens: positions to decode.
    """

    policy: str
    options: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    block_length: int = 32
    max_new_tokens: int = 256


def _nothing_more(config: ModelConfig, fields: Fields, tensors: Collection[str]) -> ModelConfig:
    del fields, tensors
    return config


def _every(values: Mapping[str, Any]) -> bool:
    del values
    return True


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
        other_types: further values of ``model_type`` that it reads.
        classes: what its checkpoints call themselves in ``architectures``; other names are let
            pass unless they are another family's.
        fits: tells by the other fields of config.json whether one with such a value is of this
            family; models of several families call themselves alike.
        ambiguous: what else a checkpoint that fits may be, so that the user has to name the family;
            empty where its files say enough.
        settle: what the names of tensors say of the switches that config.json leaves open; it
            complains where the two disagree.
        block_field: field of config.json with the length of a block; None where there are none.
        mask_names: what its mask is called among the added tokens of its tokenizers.
        attention: kind of attention, one of `dawn_models.config.ATTENTIONS`.
        decoding: how its authors decode; None is DAWN.
        draft_folder: folder in the checkpoint's with an adapter for drafts, where there may be one.
        golden: what of the computations of its authors' code the tests have, and meet; empty if
            they have none.
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
    other_types: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    fits: Callable[[Mapping[str, Any]], bool] = _every
    ambiguous: str = ""
    settle: Callable[[ModelConfig, Fields, Collection[str]], ModelConfig] = _nothing_more
    block_field: str | None = None
    mask_names: tuple[str, ...] = ()
    attention: str = FULL
    decoding: Decoding | None = None
    draft_folder: str = ""
    golden: str = ""

    @property
    def types(self) -> tuple[str, ...]:
        """Every value of ``model_type`` that it reads."""
        return (self.model_type, *self.other_types)

    def describes(self, values: Mapping[str, Any]) -> bool:
        """Whether a configuration may be one of this family.

        Args:
            values: the fields of config.json.
        """
        return values.get("model_type") in self.types and self.fits(values)

    def read_config(self, config: Fields, generation: Fields) -> ModelConfig:
        """Parse and cross-check a configuration; what is not read is said in `Fields.notes`.

        Raises:
            ConfigError: a field is missing, has the wrong type, or is not implemented.
        """
        self.table.check_required(config)
        parsed = self.parse(config, generation)
        barred = (*parsed.forbidden_token_ids, *self.forbidden)
        parsed = replace(parsed, forbidden_token_ids=barred)
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
    blocks = config.attention.block_length
    if blocks is not None and blocks > config.max_length:
        raise ConfigError(
            f"{fields.path}: blocks of {blocks} tokens, expected blocks no longer than the longest "
            f"sequence, which is of {config.max_length}"
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


def stored_head(
    name: str, *, whatever_is_said: bool = False
) -> Callable[[ModelConfig, Fields, Collection[str]], ModelConfig]:
    """A `Family.settle`: the head is a matrix of its own if the files hold one.

    Args:
        name: its tensor in the checkpoint.
        whatever_is_said: also where ``tie_word_embeddings`` is in config.json.
    """

    def settle(config: ModelConfig, fields: Fields, tensors: Collection[str]) -> ModelConfig:
        said = fields.values.get("tie_word_embeddings") is not None
        if said and not whatever_is_said:
            return config
        return replace(config, tied_head=name not in tensors)

    return settle


def block_length_of(fields: Fields, name: str, *, default: int | None = None) -> int:
    """Tokens in a block of a model that attends block by block.

    Args:
        fields: the configuration.
        name: of the field.
        default: what every published checkpoint has; None refuses a file that does not say.

    Raises:
        ConfigError: the field is missing or malformed.
    """
    if default is None and fields.values.get(name) is None:
        raise fields.error(name, None, "an integer of at least 1; --trained-block N sets it")
    return fields.integer(name, minimum=1, default=default)
