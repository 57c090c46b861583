"""Which fields of a configuration are read, must have one value, or do nothing.

A field that is in no table is refused where its name says that it changes what the model computes
and its value is not one that switches it off; otherwise it is noted as not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from dawn_models.config import ModelConfig
from dawn_models.families.unsupported import quantized_format
from dawn_models.fields import Fields, describe

_OFF = (False, None)

_EVERYWHERE: Mapping[str, tuple[object, ...]] = {
    "is_encoder_decoder": _OFF,
    "is_decoder": _OFF,
    "add_cross_attention": _OFF,
    "cross_attention_hidden_size": (None,),
    "pruned_heads": ({}, None),
    "mlp_bias": _OFF,
    "use_mrope": _OFF,
    "use_sliding_window": _OFF,
    "transformers_weights": ("model.safetensors", None),
}
"""Fields of transformers' configurations, and the values that change nothing."""

_HARMLESS = frozenset(
    (
        *("model_type", "architectures", "auto_map", "transformers_version", "_name_or_path"),
        *("torch_dtype", "dtype", "use_cache", "return_dict", "output_attentions"),
        *("output_hidden_states", "torchscript", "use_bfloat16", "tf_legacy_loss", "id2label"),
        *("label2id", "problem_type", "task_specific_params", "tokenizer_class", "prefix"),
        *("finetuning_task", "chunk_size_feed_forward", "tie_encoder_decoder", "pretraining_tp"),
        *("initializer_range", "bos_token_id", "sep_token_id", "cls_token_id"),
        *("decoder_start_token_id", "sliding_window", "max_window_layers", "attention_bias"),
        *("original_max_position_embeddings", "attn_implementation", "_attn_implementation"),
        *("_attn_implementation_autoset", "_flash_attn_2_enabled", "gradient_checkpointing"),
        # What generation_config.json holds today.
        *("max_length", "max_new_tokens", "min_length", "do_sample", "early_stopping"),
        *("num_beams", "num_beam_groups", "diversity_penalty", "temperature", "top_k", "top_p"),
        *("typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size"),
        *("encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences"),
        *("output_scores", "return_dict_in_generate", "forced_bos_token_id", "suppress_tokens"),
        *("forced_eos_token_id", "remove_invalid_values", "begin_suppress_tokens"),
        *("exponential_decay_length_penalty",),
    )
)
"""Fields of transformers' configurations that do nothing to a bidirectional pass."""

_IDLE_WORDS = frozenset(
    (
        *("dropout", "pdrop", "droppath", "init", "initializer", "loss", "aux", "implementation"),
        *("flash", "kernel", "checkpointing", "train", "training", "unsloth", "version"),
        *("dtype", "device", "cache", "path", "prob", "probability", "tokenizer", "debug"),
    )
)
"""Words in names of fields that are about training or about how something is computed."""

_TELLING = re.compile(
    "rope|rotary|nope|alibi|position|scal|norm|eps|attn|attention|bias|window|sliding|causal|cap"
    "|multiplier|factor|expert|moe|router|activation|_act|hidden|residual|qk|clip|head|kv|mlp|gate"
    "|layer|block|bd_size|quant|sparse|theta|shift|embed|logit|temperature|lora|adapter|vision"
    "|audio|text_config|softmax|conv|mamba|recurren|mixture|parallel|paradigm"
)
"""What names of fields hold that change what a model computes."""

_SYNONYMS: Mapping[str, str] = {
    "d_model": "hidden_size",
    "n_embd": "hidden_size",
    "n_layers": "num_layers",
    "n_layer": "num_layers",
    "n_heads": "num_heads",
    "n_head": "num_heads",
    "n_kv_heads": "num_kv_heads",
    "mlp_hidden_size": "intermediate_size",
    "embedding_size": "vocab_size",
    "weight_tying": "tied_head",
}
"""What other families call a field -> attribute of `ModelConfig` whose value it must repeat."""

_FACTOR = re.compile("factor|multiplier|scal|pct|ratio|temperature")
"""What names of fields hold that do nothing at 1; others are switched off by 0."""

_SCORE_SCALE = re.compile(r"(attn|attention|softmax)_(multiplier|scale|scaling)|query_scale")
_WORDS_FOR_PLAIN = ("", "none", "default", "full", "full_attention")


@dataclass(frozen=True)
class FieldTable:
    """What a family's configuration may hold.

    Attributes:
        read: fields that the family's parser reads.
        required: field -> the only values implemented; null stands for an absent field.
        harmless: fields that change nothing in this family, whatever their value.
        aliases: field of other families -> attribute of `ModelConfig` whose value it must repeat.
        unused: those of `aliases` that the family's own code never reads: a difference is noted.
    """

    read: frozenset[str]
    required: Mapping[str, tuple[object, ...]]
    harmless: frozenset[str]
    aliases: Mapping[str, str] = field(default_factory=dict)
    unused: frozenset[str] = frozenset()

    def check_required(self, config: Fields) -> None:
        """Refuse every value that is not implemented, before anything is read.

        Raises:
            ConfigError: a field has another value than those.
        """
        stored = config.values.get("quantization_config")
        if stored:
            raise config.error(
                "quantization_config",
                stored,
                f"weights in float: these are stored as {quantized_format(stored)}; take the "
                "checkpoint it was made from, and --precision int8 or int4",
            )
        for name, allowed in {**_EVERYWHERE, **self.required}.items():
            config.require(name, *allowed)
        layers = config.values.get("layer_types")
        if layers is not None and (
            not isinstance(layers, list) or any(kind != "full_attention" for kind in layers)
        ):
            raise config.error("layer_types", layers, 'a list of "full_attention" alone')

    def check_others(self, config: Fields, parsed: ModelConfig) -> None:
        """Compare aliases with what was read, and look at what nobody reads.

        Raises:
            ConfigError: two fields differ, or a field changes what the model computes and is not
                implemented.
        """
        known = {*self.read, *self.required, *self.harmless, *_EVERYWHERE, *_HARMLESS}
        known |= {"layer_types", "quantization_config"}
        aliases = {n: a for n, a in _SYNONYMS.items() if n not in known} | dict(self.aliases)
        strange = []
        for name, value in config.values.items():
            if name in aliases:
                self._check_alias(config, name, getattr(parsed, aliases[name]))
            elif not (name in known or _is_idle(name) or _is_off(name, value, parsed.head_dim)):
                _refuse_telling(config, name, value)
                strange.append(name)
        if strange:
            names = ", ".join(map(repr, sorted(strange)[:3]))
            more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
            config.notes.append(f"{config.path.name}: not known and not read: {names:.200}{more}")

    def _check_alias(self, config: Fields, name: str, read: object) -> None:
        value = config.values[name]
        if value is None or (value == read and isinstance(value, bool) == isinstance(read, bool)):
            return
        if name not in self.unused:
            raise config.error(
                name, value, f"{describe(read)}, which other fields of this file say"
            )
        config.notes.append(
            f"{config.path.name}: {name!r} is {describe(value)} and not read; other fields of this "
            f"file say {describe(read)}"
        )


def _is_off(name: str, value: object, head_dim: int) -> bool:
    """Whether a field that nobody reads has a value that does nothing."""
    if value is None or value is False or value in ([], {}):
        return True
    if isinstance(value, str):
        return value.lower() in _WORDS_FOR_PLAIN
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if _SCORE_SCALE.search(name.lower()):
        usual: float = head_dim**-0.5
        return 0.999999 * usual < value < 1.000001 * usual
    if name == "query_pre_attn_scalar":
        return value == head_dim
    return value == (1 if _FACTOR.search(name.lower()) else 0)


def _is_idle(name: str) -> bool:
    """Whether the name of a field says that it does nothing to what a model computes."""
    words = re.split("[^a-z0-9]+", name.lower())
    return bool(_IDLE_WORDS.intersection(words)) or words[-2:] == ["token", "id"]


def _refuse_telling(config: Fields, name: str, value: object) -> None:
    """Refuse a field whose name says that it changes what the model computes."""
    if _TELLING.search(name.lower()):
        raise config.error(
            name,
            value,
            "no such field: it is not implemented, and may change what the model computes; remove "
            "it if this model's own code does not read it",
        )
