"""The small models: special tokens, chat template, Hugging Face files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tiny_training import configs

_DREAM_CHAT = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_LLADA_CHAT = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"
    "{{ message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
    "{% endif %}"
)


@dataclass(frozen=True)
class Format:
    """Another family whose format the same weights serve, told apart by a mask of its own.

    Attributes:
        family: its name.
        mask: the token that stands for a mask in it.
        config: as in `Recipe`.
    """

    family: str
    mask: str
    config: Callable[[int, Mapping[str, int]], dict[str, Any]]

    @property
    def file(self) -> str:
        """Written beside config.json; in its place it makes the folder one of this family."""
        return f"config.{self.family}.json"


@dataclass(frozen=True)
class Recipe:
    """What is peculiar to one small model.

    Attributes:
        name: folder under models/.
        special_tokens: in vocabulary order, after the byte-pair tokens.
        mask, pad, turn_end: which of them stand for a mask, for padding, for the end of a turn.
        bos: the token that opens a text, or None.
        chat_template: Jinja source, as in Hugging Face repositories.
        config: vocabulary size and token ids -> the contents of config.json.
        others: further formats that are learned in turn with the first.
    """

    name: str
    special_tokens: tuple[str, ...]
    mask: str
    pad: str
    turn_end: str
    bos: str | None
    chat_template: str
    config: Callable[[int, Mapping[str, int]], dict[str, Any]]
    others: tuple[Format, ...] = ()


_DREAM = Recipe(
    name="tiny-dream",
    special_tokens=("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|mask|>"),
    mask="<|mask|>",
    pad="<|endoftext|>",
    turn_end="<|im_end|>",
    bos=None,
    chat_template=_DREAM_CHAT,
    config=configs.dream,
)
_LLADA = Recipe(
    name="tiny-llada",
    special_tokens=(
        "<|startoftext|>",
        "<|endoftext|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<|mdm_mask|>",
    ),
    mask="<|mdm_mask|>",
    pad="<|endoftext|>",
    turn_end="<|eot_id|>",
    bos="<|startoftext|>",
    chat_template=_LLADA_CHAT,
    config=configs.llada,
)
_BLOCK = replace(
    _DREAM,
    name="tiny-block",
    special_tokens=("<|endoftext|>", "<|im_start|>", "<|im_end|>", "|<MASK>|", "<|mask|>"),
    mask="|<MASK>|",
    config=configs.fast_dllm,
    others=(Format("a2d-bd3lm", "<|mask|>", configs.a2d),),
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        _DREAM,
        _LLADA,
        replace(_DREAM, name="tiny-wedlm", config=configs.wedlm),
        _BLOCK,
        replace(_LLADA, name="tiny-nemotron", config=configs.nemotron),
    )
}
"""By name. Models with the same tensors have the same tokens, so that one can begin as another."""
