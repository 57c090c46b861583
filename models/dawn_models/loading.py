"""A checkpoint as a torch module, all in memory: for training, checks and small models."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from dawn_models.checkpoint import Checkpoint
from dawn_models.config import ModelConfig
from dawn_models.transformer import Joining, Transformer, joined


def load_transformer(
    checkpoint: Checkpoint, dtype: torch.dtype = torch.float32, join: Joining = joined
) -> Transformer:
    """Build the transformer of `checkpoint` with its weights, in evaluation mode.

    Args:
        checkpoint: its source.
        dtype: of its weights.
        join: how its layers keep keys and values.

    Raises:
        WeightsError: a shard cannot be read, or a head differs from the embedding it should be.
    """
    checkpoint.check_head()
    weights = {name: tensor.to(dtype) for name, tensor in checkpoint}
    return make_transformer(checkpoint.config, weights, join)


def make_transformer(
    config: ModelConfig, weights: Mapping[str, torch.Tensor], join: Joining = joined
) -> Transformer:
    """Build a transformer around its weights, in evaluation mode.

    Args:
        config: geometry.
        weights: every tensor of `parameter_shapes(config)`, by name; they are not copied.
        join: how its layers keep keys and values.

    Raises:
        RuntimeError: a tensor is missing, unexpected or mis-shaped.
    """
    with torch.device("meta"):
        model = Transformer(config, join)
    tied = {"head.weight": weights["embedding.weight"]} if config.tied_head else {}
    model.load_state_dict({**weights, **tied}, strict=True, assign=True)
    if config.tied_head:
        model.head.weight = model.embedding.weight
    return model.eval().requires_grad_(False)
