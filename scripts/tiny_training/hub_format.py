"""Writing a trained model as a Hugging Face folder, BF16, as published checkpoints are."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from dawn_models import ModelConfig, Told, Transformer, family_named, read_config
from tiny_training.batches import LONGEST_FILL
from tiny_training.recipes import Format, Recipe


def config_of(recipe: Recipe | Format, tokens: Recipe, tokenizer: Tokenizer) -> dict[str, Any]:
    """The contents of config.json; the vocabulary is padded to a multiple of 64 rows.

    Args:
        recipe: whose configuration it is.
        tokens: has the special tokens.
        tokenizer: the vocabulary.
    """
    ids = {token: tokenizer.token_to_id(token) for token in tokens.special_tokens}
    return recipe.config(-(-tokenizer.get_vocab_size() // 64) * 64, ids)


def model_configs(recipe: Recipe, tokenizer: Tokenizer) -> tuple[ModelConfig, ...]:
    """The models that the written files will describe, one for each format."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_tokenizer_files(folder, recipe, tokenizer)
        configs = [read_config(folder)[1]]
        for other in recipe.others:
            (folder / other.file).replace(folder / "config.json")
            configs.append(read_config(folder, told=Told(family=other.family))[1])
    return tuple(configs)


def write_tokenizer_files(folder: Path, recipe: Recipe, tokenizer: Tokenizer) -> None:
    """Write everything but the weights, so that configuration readers can open the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder / "config.json", config_of(recipe, recipe, tokenizer))
    for other in recipe.others:
        _write_json(folder / other.file, config_of(other, recipe, tokenizer))
    end_ids = [tokenizer.token_to_id(recipe.turn_end), tokenizer.token_to_id(recipe.pad)]
    # Answers are short, and longer rests of end tokens than in training are not understood.
    lengths = {"max_new_tokens": LONGEST_FILL}
    generation = {"eos_token_id": end_ids, "pad_token_id": end_ids[1]} | lengths
    _write_json(folder / "generation_config.json", generation)
    special = {"eos_token": recipe.turn_end, "pad_token": recipe.pad}
    if not recipe.others:  # a tokenizer has one mask or names none
        special["mask_token"] = recipe.mask
    if recipe.bos is not None:
        special["bos_token"] = recipe.bos
    tokenizer_config = {"model_max_length": 512, "tokenizer_class": "PreTrainedTokenizerFast"}
    _write_json(folder / "tokenizer_config.json", tokenizer_config | special)
    (folder / "chat_template.jinja").write_text(recipe.chat_template, encoding="utf-8")


def write_weights(folder: Path, model: Transformer) -> None:
    """Write ``model.safetensors`` in BF16 under the family's own names."""
    names = family_named(model.config.family).tensor_names(model.config)
    parameters = dict(model.named_parameters())
    tensors = {
        name: parameters[parameter].detach().to(torch.bfloat16).contiguous()
        for parameter, name in names.items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
