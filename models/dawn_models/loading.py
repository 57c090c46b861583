"""A checkpoint as a torch module, all in memory: for training, checks and small models."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from dawn_models.checkpoint import Checkpoint
from dawn_models.config import ModelConfig
from dawn_models.transformer import Transformer


def load_transformer(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> Transformer:
    """Build the transformer of `checkpoint` with its weights, in evaluation mode.

    Raises:
        WeightsError: a shard cannot be read, or a head differs from the embedding it should be.
    """
    checkpoint.check_head()
    weights = {name: tensor.to(dtype) for name, tensor in checkpoint}
    return make_transformer(checkpoint.config, weights)


def make_transformer(config: ModelConfig, weights: Mapping[str, torch.Tensor]) -> Transformer:
    """Build a transformer around its weights, in evaluation mode.

    Args:
        config: geometry.
        weights: every tensor of `parameter_shapes(config)`, by name; they are not copied.

    Raises:
        RuntimeError: a tensor is missing, unexpected or mis-shaped.
    """
    with torch.device("meta"):
        model = Transformer(config)
    tied = {"head.weight": weights["embedding.weight"]} if config.tied_head else {}
    model.load_state_dict({**weights, **tied}, strict=True, assign=True)
    if config.tied_head:
        model.head.weight = model.embedding.weight
    return model.eval().requires_grad_(False)
