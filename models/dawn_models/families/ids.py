"""Special token ids, which config.json and generation_config.json may both name.

transformers generates with generation_config.json, and so do we; what that leaves unread is noted.
A mask id has no second place to look it up: where two are named, one of them is wrong.
"""

from __future__ import annotations

from dawn_models.fields import Fields


def mask_token_id(config: Fields, generation: Fields) -> int:
    """The id that stands for "not yet known".

    Raises:
        ConfigError: it is missing or malformed, or the files name two.
    """
    other = generation.optional_integer("mask_token_id")
    if other is None:
        return config.integer("mask_token_id")
    found = config.optional_integer("mask_token_id")
    if found not in (None, other):
        raise generation.error(
            "mask_token_id",
            other,
            f"{found} as {config.path.name} says; correct the one that is wrong",
        )
    return other


def eos_token_ids(config: Fields, generation: Fields) -> tuple[int, ...]:
    """The ids that end an answer, in their order.

    Raises:
        ConfigError: they are malformed.
    """
    first, second = generation.token_ids("eos_token_id"), config.token_ids("eos_token_id")
    unread = [i for i in second if i not in first]
    if first and unread:
        config.notes.append(
            f"eos_token_id: {list(first)} of {generation.path.name} end an answer, "
            f"{unread} of {config.path.name} do not"
        )
    return first or second


def pad_token_id(config: Fields, generation: Fields) -> int | None:
    """The id used for padding, or None.

    Raises:
        ConfigError: it is malformed.
    """
    first = generation.optional_integer("pad_token_id")
    second = config.optional_integer("pad_token_id")
    if None not in (first, second) and first != second:
        config.notes.append(
            f"pad_token_id: {first} of {generation.path.name} is used, "
            f"{second} of {config.path.name} is not"
        )
    return second if first is None else first
