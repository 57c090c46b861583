"""The base of RoPE, in every place and spelling in which configurations keep it.

``rope_theta`` is a field of its own in older files. transformers 5 writes ``rope_parameters``, an
object with kind and base, or one such object for each type of layer; ``rope_scaling`` is what it
was called before, and says ``type`` where newer files say ``rope_type``. Plain RoPE is implemented,
and YaRN for families that ask for it (`read`): every other kind is refused, and so are places that
name different bases.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dawn_models.config import Yarn
from dawn_models.fields import Fields

OBJECTS = ("rope_parameters", "rope_scaling")
FIELDS = ("rope_theta", *OBJECTS)
"""Every field that `rope_theta` reads."""

_KINDS = ("rope_type", "type")
_FACTORS = (
    *("factor", "attention_factor", "attn_factor", "mscale", "mscale_all_dim"),
    *("partial_rotary_factor", "low_freq_factor", "high_freq_factor"),
)
"""Do nothing at 1."""

_IDLE = ("original_max_position_embeddings", "beta_fast", "beta_slow", "truncate")
"""Say how a factor is applied; nothing where it is 1."""


def rope_theta(config: Fields, *, default: float | None = None) -> float:
    """Base of the rotary frequencies.

    Args:
        config: the configuration.
        default: base where no place names one; None refuses that.

    Raises:
        ConfigError: the frequencies are scaled, a field is malformed, or two places differ.
    """
    found = dict(_claims(config))
    places = list(found)
    for place in places[1:]:
        if found[place] != found[places[0]]:
            raise config.error(
                place,
                found[place],
                f"{found[places[0]]} as {places[0]!r} says; correct the one that is wrong",
            )
    return found[places[0]] if places else config.positive("rope_theta", default=default)


def _claims(config: Fields) -> Iterator[tuple[str, float]]:
    """Place -> base, for every place that names one."""
    if config.values.get("rope_theta") is not None:
        yield "rope_theta", config.positive("rope_theta")
    for name in OBJECTS:
        value = config.values.get(name)
        if value is None:
            continue
        if not isinstance(value, dict):
            raise _unknown(config, name, value, "it is no object")
        for place, entry in _entries(config, name, value):
            _check_plain(config, name, entry)
            theta = Fields({"rope_theta": entry.get("rope_theta")}, config.path)
            if theta.values["rope_theta"] is not None:
                yield f"{place}.rope_theta", theta.positive("rope_theta")


def _entries(
    config: Fields, name: str, value: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Place -> object: the object itself, and those of the types of layers in it."""
    yield name, {key: item for key, item in value.items() if not _of_layers(key, item)}
    for key, item in value.items():
        if isinstance(item, dict):
            yield f"{name}.{key}", item
        elif _of_layers(key, item) and key == "full_attention":
            raise _unknown(config, name, value, "without it, layers have no RoPE")


def _of_layers(key: str, item: object) -> bool:
    return isinstance(item, dict) or (item is None and key.endswith("_attention"))


def _check_plain(config: Fields, name: str, entry: Mapping[str, Any]) -> None:
    scaled = [key for key in _FACTORS if not _is_one(entry.get(key))]
    kinds = {entry[key] for key in _KINDS if isinstance(entry.get(key), str)} - {"default"}
    odd = [key for key in _KINDS if not isinstance(entry.get(key), str | None)]
    others = set(entry) - {"rope_theta", *_KINDS, *_FACTORS, *_IDLE}
    odd += sorted(key for key in others if entry[key] is not None)
    # Linear scaling divides positions by its factor.
    if kinds - {"linear"} or (kinds and entry.get("factor") is None) or scaled or odd:
        value = config.values[name]
        why = [f"{key!r} is {entry[key]!r:.40}" for key in (*scaled, *odd)[:1]]
        raise _unknown(config, name, value, *why)


def _is_one(value: object) -> bool:
    """Whether a factor does nothing; absent ones do not."""
    return value is None or (
        isinstance(value, int | float) and not isinstance(value, bool) and value == 1
    )


def _unknown(config: Fields, name: str, value: object, *why: str) -> Exception:
    expected = "null, or rope_type 'default' with its rope_theta, the only one implemented"
    return config.error(name, value, "; ".join((expected, *why)))


@dataclass(frozen=True)
class Rope:
    """What the fields say of RoPE.

    Attributes:
        theta: base of the frequencies.
        yarn: how they are scaled; None where they are not.
        query_scaling: queries are scaled by their position beyond the context of the training.
    """

    theta: float
    yarn: Yarn | None = None
    query_scaling: bool = False


_YARN = frozenset(
    (
        *("rope_theta", *_KINDS, "factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim"),
        *("attention_factor", "original_max_position_embeddings", "truncate"),
        "llama_4_scaling_beta",
    )
)
"""What an object of kind YaRN may hold."""

_FAR = 1e6
"""Most turns and largest factor; the least are one by it. Far beyond any model."""


def read(config: Fields) -> Rope:
    """Plain RoPE or YaRN, whichever the fields describe.

    Raises:
        ConfigError: another kind, a field that is malformed or not known, or two places differ.
    """
    objects = {name: config.values[name] for name in OBJECTS if config.values.get(name)}
    scaled = {name: value for name, value in objects.items() if _is_yarn(value)}
    if not scaled:
        return Rope(rope_theta(config))
    (name, value), *others = objects.items()
    if any(other != value for _, other in others):
        raise config.error(others[0][0], others[0][1], f"what {name!r} says, or nothing")
    return _yarn(config, name, value)


def _is_yarn(value: object) -> bool:
    return isinstance(value, dict) and any(value.get(key) == "yarn" for key in _KINDS)


def _yarn(config: Fields, name: str, value: Mapping[str, Any]) -> Rope:
    entry = Fields(value, config.path)
    strange = sorted(key for key in set(value) - _YARN if value[key] is not None)
    kinds = [value[key] for key in _KINDS if value.get(key) is not None]
    if strange or any(kind != "yarn" for kind in kinds):
        why = f"{strange[0]!r:.40} is not known" if strange else "its kinds differ"
        raise config.error(name, value, f"YaRN as it is published; {why}")
    entry.require("truncate", True, None)
    # The object's own base goes through the checks that every other kind's goes through.
    plain = {
        "rope_theta": config.values.get("rope_theta"),
        name: {"rope_theta": value.get("rope_theta")},
    }
    theta = rope_theta(Fields(plain, config.path))
    yarn = Yarn(
        factor=entry.positive("factor"),
        original_length=entry.integer("original_max_position_embeddings", minimum=1),
        beta_fast=entry.positive("beta_fast", default=32.0),
        beta_slow=entry.positive("beta_slow", default=1.0),
        scale=_yarn_scale(entry),
    )
    if not (theta > 1 and 1 / _FAR <= yarn.beta_slow <= yarn.beta_fast <= _FAR):
        raise config.error(name, value, "rope_theta above 1, and beta_fast of at least beta_slow")
    if not 1 / _FAR <= min(yarn.factor, yarn.scale) <= max(yarn.factor, yarn.scale) <= _FAR:
        raise config.error(name, value, f"factors from {1 / _FAR:g} to {_FAR:g}")
    scaling = value.get("llama_4_scaling_beta") not in (None, 0)
    return Rope(theta, yarn, query_scaling=scaling)


def _yarn_scale(entry: Fields) -> float:
    """Factor of cosine and sine: as stated, or of the two ``mscale``, or of the factor alone."""
    if entry.values.get("attention_factor") is not None:
        return entry.positive("attention_factor")
    factor = entry.positive("factor")

    def grown(mscale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0

    if entry.values.get("mscale") and entry.values.get("mscale_all_dim"):
        return grown(entry.positive("mscale")) / grown(entry.positive("mscale_all_dim"))
    return grown(1.0)
