"""A small checkpoint whose adapter for drafts was taught what the model says to a prompt."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

from dawn_models import Checkpoint, KeyValue, StepResult, Transformer, load_transformer
from support.checkpoints import write_adapter, write_checkpoint
from support.families import tame

PROMPT = [3, 21, 3]
ANSWER = 14
"""Tokens of the answer, eight of them different and none an end."""

BLOCK = 4
SIZES = {"head_dim": 8, "intermediate_size": 32, "block_size": BLOCK}
"""Widths that can be stored in 4 bits."""

_LESSONS = 120
_RATE = 0.05


def write_taught(folder: Path) -> Path:
    """Write the checkpoint: random weights, and an adapter that guesses well after `PROMPT`."""
    write_checkpoint(folder, "nemotron", tame, **SIZES)
    write_adapter(folder)
    model = load_transformer(Checkpoint.open(folder))
    _teach(model, said(model, PROMPT, ANSWER))
    taught = {
        f"base_model.model.encoder.layers.{i}.self_attn.o_proj.lora_{name}.weight": weight.detach()
        for i, layer in enumerate(model.layers)
        for name, weight in (("A", layer.draft_a.weight), ("B", layer.draft_b.weight))
    }
    write_adapter(folder, lambda tensors: tensors.update(taught))
    return folder


def said(model: Transformer, prompt: list[int], count: int) -> Tensor:
    """A prompt and what causal rows say to it, one token after the other: int64 [S]."""
    text = torch.tensor(prompt)
    for _ in range(count):
        sees = torch.ones(1, len(text), len(text), dtype=torch.bool).tril()
        text = torch.cat([text, run(model, text[None], sees).tokens[0, -1:]])
    return text


def run(model: Transformer, ids: Tensor, sees: Tensor, drafts: Tensor | None = None) -> StepResult:
    """One run over whole sequences.

    Args:
        model: The torch module.
        ids: int64 [B, S].
        sees: bool [B, S, S].
        drafts: bool [B, S], rows with the adapter.
    """
    (batch, length), config = ids.shape, model.config
    every = torch.arange(length).expand(batch, length)
    empty = torch.zeros(batch, config.num_kv_heads, 0, config.head_dim)
    past = [KeyValue(empty, empty)] * config.num_layers
    none = every[:, :0]
    return model.step(ids, every, sees[:, None], every, none, none, past, 1, drafts)


def _teach(model: Transformer, text: Tensor) -> None:
    """Fit the adapter: from every seed on, masks shall say the text."""
    lessons = [_lesson(text, seed, model.config.mask_token_id) for seed in _seeds(text)]
    ids, sees, drafts, masks = (torch.stack(column) for column in zip(*lessons, strict=True))
    factors = [f.weight for layer in model.layers for f in (layer.draft_a, layer.draft_b)]
    for factor in factors:
        factor.requires_grad_(True)
    optimiser = torch.optim.Adam(factors, lr=_RATE)
    wanted = text.expand(ids.shape)[masks]
    for _ in range(_LESSONS):
        logits = run(model, ids, sees, drafts).logits[masks]
        optimiser.zero_grad()
        F.cross_entropy(logits.nan_to_num(neginf=-1e4), wanted).backward()
        optimiser.step()


def _seeds(text: Tensor) -> range:
    """Where drafts begin as long as all of them are right."""
    return range(len(PROMPT), len(text) - 1, BLOCK)


def _lesson(text: Tensor, seed: int, mask: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids, what rows see, rows that draft and rows of masks, as a run has it that drafts."""
    here, end = torch.arange(len(text)), min(seed + BLOCK, len(text))
    drafts, masks = ((here >= first) & (here < end) for first in (seed, seed + 1))
    sees = (here[:, None] >= here) | (drafts[:, None] & drafts)
    return torch.where(here > seed, mask, text), sees, drafts, masks
