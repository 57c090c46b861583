"""What a run begins with: new weights and a new vocabulary, or those of a checkpoint.

A checkpoint of another family will do where its tensors are the same: attention masks and what a
row predicts are no part of them. Its vocabulary is kept, and its mask called as the new family
calls its own; a mask of a second format is added, and begins as the first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer

from dawn_models import (
    Checkpoint,
    CheckpointError,
    ModelConfig,
    Transformer,
    make_transformer,
    parameter_shapes,
)
from tiny_training.hub_format import model_configs
from tiny_training.recipes import Recipe

FILES = ("tokenizer.json", "model.safetensors")

TABLES = ("embedding.weight", "head.weight")
"""Parameters with a row for each token, which may get more of them."""


class StartError(ValueError):
    """A run cannot begin with a checkpoint; one line says why."""


@dataclass(frozen=True)
class Start:
    """A checkpoint to begin with.

    Attributes:
        checkpoint: its weights.
        tokenizer: its vocabulary, special tokens called as the recipe has them.
    """

    checkpoint: Checkpoint
    tokenizer: Tokenizer

    @classmethod
    def open(cls, folder: Path, recipe: Recipe) -> Start:
        """Look at a checkpoint before anything is written.

        Raises:
            StartError: it is none of a small model, or its weights do not fit the recipe.
        """
        for name in FILES:
            if not (folder / name).is_file():
                raise StartError(f"no {name} there; give the folder of a small model")
        try:
            checkpoint = Checkpoint.open(folder)
        except CheckpointError as error:
            raise StartError(str(error)) from None
        tokenizer = _renamed(folder / FILES[0], checkpoint.config.mask_token_id, recipe.mask)
        others = (other.mask for other in recipe.others)
        tokenizer.add_special_tokens([AddedToken(mask, special=True) for mask in others])
        lacking = [t for t in recipe.special_tokens if tokenizer.token_to_id(t) is None]
        if lacking:
            raise StartError(f"its vocabulary lacks {lacking[0]!r}, which {recipe.name} has")
        _compare(checkpoint.config, model_configs(recipe, tokenizer)[0], recipe.name)
        return cls(checkpoint, tokenizer)

    def model(self, config: ModelConfig) -> Transformer:
        """A model to train with the weights of the checkpoint, in float32."""
        weights = {name: tensor.float() for name, tensor in self.checkpoint}
        for name, rows in weights.items():
            if name in TABLES:
                mask = rows[self.checkpoint.config.mask_token_id]
                added = mask.expand(config.vocab_size - len(rows), -1)
                weights[name] = torch.cat([rows, added])
        return make_transformer(config, weights).train().requires_grad_(True)


def _renamed(path: Path, mask: int, name: str) -> Tokenizer:
    """The tokenizer of a file, its mask called `name`."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for token in content["added_tokens"]:
        if token["id"] == mask:
            token["content"] = name
    return Tokenizer.from_str(json.dumps(content))


_ALIKE = ("num_heads", "num_kv_heads", "head_dim", "rope_theta")
"""What tells models apart whose tensors have the same shapes."""


def _compare(begun: ModelConfig, made: ModelConfig, name: str) -> None:
    """Refuses weights that a model has no place for, or would read otherwise."""
    more = max(begun.vocab_size, made.vocab_size)
    found, wanted = parameter_shapes(replace(begun, vocab_size=more)), parameter_shapes(made)
    for parameter in sorted({*found, *wanted}):
        if found.get(parameter) != wanted.get(parameter):
            raise StartError(
                f"{parameter} is {_shape(found.get(parameter))}, {name} wants "
                f"{_shape(wanted.get(parameter))}; its tensors do not fit"
            )
    for field in _ALIKE:
        if getattr(begun, field) != getattr(made, field):
            raise StartError(
                f"its {field} is {getattr(begun, field)}, {name} has {getattr(made, field)}"
            )
    if begun.yarn != made.yarn and {_factor(begun), _factor(made)} != {1.0}:
        raise StartError(f"its RoPE is scaled by {_factor(begun)}, {name}'s by {_factor(made)}")


def _factor(config: ModelConfig) -> float:
    """What slow rotary frequencies are divided by."""
    return 1.0 if config.yarn is None else config.yarn.factor


def _shape(shape: tuple[int, ...] | None) -> str:
    return "not there" if shape is None else " x ".join(map(str, shape))
