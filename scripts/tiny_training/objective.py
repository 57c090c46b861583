"""The loss, and the two optimisers it is minimised with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

from dawn_models import Transformer
from tiny_training.batches import Batch


def weighted_loss(model: Transformer, batch: Batch) -> Tensor:
    """Weighted cross entropy of the rows that predict something."""
    rows = batch.weights.nonzero(as_tuple=True)
    hidden = model.hidden(batch.inputs, batch.sees, batch.positions)
    logits = model.head(hidden[rows]).float()
    losses = F.cross_entropy(logits, batch.targets[rows], reduction="none")
    return (losses * batch.weights[rows]).sum()


def optimisers(model: Transformer, peak: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for everything else."""
    matrices = [p for p in model.layers.parameters() if p.ndim == 2]
    inside = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in inside]
    muon = torch.optim.Muon(matrices, lr=peak, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(others, lr=peak, betas=(0.9, 0.98), weight_decay=0.01)
    return [muon, adam]


def learning_rate_factor(step: int, steps: int) -> float:
    """Linear warm-up over 100 steps, constant, then linear to zero over the last 40 %."""
    warm = min(1.0, (step + 1) / min(100, max(1, steps // 10)))
    left = (steps - step) / max(1.0, 0.4 * steps)
    return min(warm, left, 1.0)


_SCALE_BY_NAME = {"q_proj": 1.4, "k_proj": 1.4, "o_proj": 0.3, "down_proj": 0.3}
"""Deviation of a layer's matrices, in units of 1 / sqrt(columns); 1 for those not named."""


def initialise(model: Transformer, seed: int) -> None:
    """Draw the weights a run starts from.

    All masked tokens look alike, so a head can only tell them apart by where they stand: queries
    and keys start large enough (and their biases, where there are any) that heads differ from the
    first step in the relative positions they prefer. The head starts as a tenth of the embedding,
    so that a layer that copies a token raises that token's own logit.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            scale = _SCALE_BY_NAME.get(name.split(".")[-2], 1.0)
            deviation = scale * parameter.shape[1] ** -0.5
            parameter.data.normal_(0.0, deviation, generator=generator)
        elif name.endswith("bias"):
            parameter.data.normal_(0.0, 0.5, generator=generator)
    model.embedding.weight.data.normal_(0.0, 0.3, generator=generator)
    model.head.weight.data.copy_(0.1 * model.embedding.weight.data)
