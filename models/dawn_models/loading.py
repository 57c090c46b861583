"""A checkpoint as a torch module, all in memory: for training, checks and small models."""

from __future__ import annotations

import torch

from dawn_models.checkpoint import Checkpoint
from dawn_models.transformer import Transformer


def load_transformer(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> Transformer:
    """Build the transformer of `checkpoint` with its weights, in evaluation mode.

    Raises:
        WeightsError: a shard cannot be read.
    """
    with torch.device("meta"):
        model = Transformer(checkpoint.config)
    weights = {name: tensor.to(dtype) for name, tensor in checkpoint}
    if checkpoint.config.tied_head:
        weights["head.weight"] = weights["embedding.weight"]
    model.load_state_dict(weights, strict=True, assign=True)
    if checkpoint.config.tied_head:
        model.head.weight = model.embedding.weight
    return model.eval().requires_grad_(False)
