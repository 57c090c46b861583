"""Training batches: prompts rendered as chats, answers padded with end tokens, then masked."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jinja2 import Template
from tokenizers import Tokenizer

from dawn_calibration.tasks import TASKS, Item, Split, items
from tiny_training.recipes import Recipe

LENGTHS = (80, 96, 112, 128)
"""Sequence lengths of batches; the answer's region is whatever the prompt leaves of it."""


@dataclass(frozen=True)
class Example:
    """Token ids of one item; `answer` ends with the end-of-turn token."""

    item: Item
    prompt: list[int]
    answer: list[int]


@dataclass(frozen=True)
class Batch:
    """What one optimiser step sees.

    Attributes:
        inputs: int64 [B, L], some answer tokens replaced by the mask.
        targets: int64 [B, L], the clean sequence.
        weights: float32 [B, L], weight of each masked position in the loss, 0 elsewhere.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor


class Encoder:
    """Items -> token ids, with the chat template of a recipe."""

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.template = Template(recipe.chat_template)
        self.bos = recipe.bos or ""
        self.mask = tokenizer.token_to_id(recipe.mask)
        self.pad = tokenizer.token_to_id(recipe.pad)
        self.turn_end = recipe.turn_end

    def prompt_text(self, item: Item) -> str:
        """The prompt as the model sees it."""
        messages = [{"role": "user", "content": item.prompt}]
        return self.template.render(
            messages=messages, add_generation_prompt=True, bos_token=self.bos
        )

    def encode(self, batch: list[Item]) -> list[Example]:
        """Token ids of prompts and answers."""
        texts = [self.prompt_text(item) for item in batch]
        texts += [item.answer + self.turn_end for item in batch]
        ids = [e.ids for e in self.tokenizer.encode_batch(texts, add_special_tokens=False)]
        half = len(batch)
        return [Example(*triple) for triple in zip(batch, ids[:half], ids[half:], strict=True)]


def mixed_items(shares: Mapping[str, float], split: Split, seed: int) -> Iterator[Item]:
    """An endless mixture of all tasks in the given shares, the same for the same seed."""
    rng = random.Random(f"mixture {split} {seed}")
    streams = {name: items(task, split, seed) for name, task in TASKS.items()}
    names = list(streams)
    weights = [shares.get(name, 1.0) for name in names]
    while True:
        yield next(streams[rng.choices(names, weights)[0]])


def masked_batch(examples: list[Example], encoder: Encoder, rng: random.Random) -> Batch:
    """Pad to one length and mask answers, each example twice with complementary masks.

    The mask ratio is drawn uniformly per example, as in the masked-diffusion objective, which
    weights a masked token by 1 / ratio; complementary masks use every token once per pair.
    One example in three is masked as block decoding meets it: known, then partly, then masked.
    """
    longest = max(len(e.prompt) + len(e.answer) for e in examples)
    length = rng.choice([n for n in LENGTHS if n >= longest] or [longest])
    generator = torch.Generator().manual_seed(rng.getrandbits(60))
    rows = [_padded(example, length, encoder.pad) for example in examples]
    targets = torch.tensor([row for row in rows for _ in range(2)])
    masks, ratios = zip(*(_masks(e, length, rng, generator) for e in examples), strict=True)
    mask = torch.cat(masks)
    worth = torch.stack([_worth(e, length) for e in examples for _ in range(2)])
    weights = mask * worth / torch.cat(ratios)[:, None]
    inputs = targets.masked_fill(mask, encoder.mask)
    return Batch(inputs, targets, weights / worth.sum())


def _padded(example: Example, length: int, pad: int) -> list[int]:
    ids = example.prompt + example.answer
    return ids + [pad] * (length - len(ids))


def _worth(example: Example, length: int) -> torch.Tensor:
    """How much a position counts: answers fully, the padding behind them a little."""
    worth = torch.full((length,), 0.05)
    start = len(example.prompt)
    worth[:start] = 0.0
    worth[start : start + len(example.answer)] = 1.0
    return worth


def _masks(
    example: Example, length: int, rng: random.Random, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Two masks [2, L] and the ratio at which each masks [2]."""
    ratio = rng.uniform(0.02, 0.98)
    pick = torch.rand(length, generator=generator) < ratio
    masks = torch.stack([pick, ~pick])
    ratios = torch.tensor([ratio, 1 - ratio])
    masks[:, : len(example.prompt)] = False
    if rng.random() < 0.33:
        masks, ratios = _blockwise(masks, example, length, rng)
    return masks, ratios


def _blockwise(
    masks: torch.Tensor, example: Example, length: int, rng: random.Random
) -> tuple[torch.Tensor, torch.Tensor]:
    """Everything before a random place known, everything from a later place masked."""
    start = len(example.prompt)
    known = rng.randrange(start, start + len(example.answer))
    masks[:, start:known] = False
    masks[:, known + rng.randint(1, 32) :] = True
    masks[:, known] = True
    # The share of this example that is masked, so that its weight stays near one.
    shares = masks[:, start:].float().mean(dim=1).clamp(min=0.05)
    return masks[:, :length], shares
