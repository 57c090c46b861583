"""What a row may see where a caller says no more than which tokens are padding."""

from __future__ import annotations

import torch
from torch import Tensor

from dawn_models.config import CAUSAL, FULL, ModelConfig


def positions(input_ids: Tensor, padding: Tensor | None) -> Tensor:
    """Logical positions: tokens are counted, padding is not.

    Args:
        input_ids: int64 [B, S].
        padding: [B, S], not 0 where there is a token; None is everywhere.

    Returns:
        int64 [B, S]; those of padding do not matter.
    """
    tokens = torch.ones_like(input_ids) if padding is None else (padding != 0).long()
    return (tokens.cumsum(dim=1) - 1).clamp(min=0)


def seen(config: ModelConfig, position_ids: Tensor, padding: Tensor | None) -> Tensor | None:
    """Where each row may look, as the family was trained.

    Args:
        config: of the model.
        position_ids: int64 [B, S], of which blocks are counted.
        padding: [B, S], not 0 where there is a token; None is everywhere.

    Returns:
        bool [B, 1, S, S], or None where everything sees everything.

    Raises:
        ValueError: what a row sees depends on where the prompt ends, or which rows are masks.
    """
    own = _of_family(config, position_ids)
    if padding is None:
        return None if own is None else own.unsqueeze(1)
    tokens = (padding != 0).unsqueeze(1)
    allowed = tokens if own is None else tokens & own
    # A row of padding may see no token at all; its own keeps the softmax from dividing by zero.
    itself = torch.eye(position_ids.shape[1], dtype=torch.bool, device=position_ids.device)
    return (allowed | itself).unsqueeze(1)


def _of_family(config: ModelConfig, position_ids: Tensor) -> Tensor | None:
    """Bool [B or 1, S, S]; None is everywhere."""
    attention = config.attention
    if attention.kind == FULL:
        return None
    length = attention.block_length
    if attention.kind == CAUSAL and length is None:
        rows = torch.arange(position_ids.shape[1], device=position_ids.device)
        return (rows[:, None] >= rows)[None]
    if attention.kind == CAUSAL or attention.origin != "start" or length is None:
        raise ValueError(
            "attention_mask: got none of [B, 1, S, S], expected one of bool, True where a row may "
            f"look: what a row of {config.family} sees depends on where the prompt ends"
        )
    blocks = position_ids // length
    return blocks.unsqueeze(2) >= blocks.unsqueeze(1)
