"""Training batches: prompts rendered as chats, answers padded with end tokens, then masked."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jinja2 import Template
from tokenizers import Tokenizer

from dawn_calibration.tasks import TASKS, Item, Split, items
from tiny_training import drills
from tiny_training.recipes import Recipe

LONGEST_FILL, LONG_FILL_SHARE = 64, 0.3
"""Most end tokens behind the longest answer of a batch, and the share of batches with any.

Decoding asks for more tokens than an answer needs; the model must have seen such a rest."""

BLOCKWISE_SHARE = 0.5
"""Share of examples whose answer is known up to a place and masked from a later one on: the order
in which results are computed. Under masks at random a result is mostly copied from its next use."""


@dataclass(frozen=True)
class Example:
    """Token ids of one item.

    Attributes:
        item: what it was made of.
        prompt: tokens of the rendered prompt.
        answer: tokens of the answer, the end of the turn included.
        asked: for each token of the answer, whether it may be masked.
    """

    item: Item
    prompt: list[int]
    answer: list[int]
    asked: list[bool]


@dataclass(frozen=True)
class Batch:
    """What one optimiser step sees.

    Attributes:
        inputs: int64 [B, S], some answer tokens replaced by the mask.
        targets: int64 [B, S], what each row should predict.
        weights: float32 [B, S], weight of each prediction in the loss, 0 where none is wanted.
        positions: int64 [B, S], where rows stand in the text; None is in their order.
        sees: bool [B, 1, S, S], which row looks at which; None is all at all.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    positions: torch.Tensor | None = None
    sees: torch.Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(
            inputs=self.inputs.to(device),
            targets=self.targets.to(device),
            weights=self.weights.to(device),
            positions=None if self.positions is None else self.positions.to(device),
            sees=None if self.sees is None else self.sees.to(device),
        )


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
        parts = zip(batch, ids[:half], ids[half:], strict=True)
        return [Example(*part, self._asked(part[0], part[2])) for part in parts]

    def _asked(self, item: Item, answer: list[int]) -> list[bool]:
        if item.task == drills.NAME:
            return drills.results(self.tokenizer, answer)
        return [True] * len(answer)


def mixed_items(shares: Mapping[str, float], split: Split, seed: int) -> Iterator[Item]:
    """An endless mixture of all tasks in the given shares, the same for the same seed.

    A task that is not named has share 1; drills are mixed in only if they are named.
    """
    rng = random.Random(f"mixture {split} {seed}")
    streams = {name: items(task, split, seed) for name, task in TASKS.items()}
    if drills.NAME in shares:
        streams[drills.NAME] = drills.drills(seed)
    names = list(streams)
    weights = [shares.get(name, 1.0) for name in names]
    while True:
        yield next(streams[rng.choices(names, weights)[0]])


def batches_of_similar_length(
    examples: list[Example], size: int, rng: random.Random
) -> list[list[Example]]:
    """Split a pool of examples so that little is padded, in random order."""
    ordered = sorted(examples, key=lambda e: (len(e.prompt) + len(e.answer), rng.random()))
    batches = [ordered[i : i + size] for i in range(0, len(ordered), size)]
    rng.shuffle(batches)
    return batches


def masked_batch(
    examples: list[Example], encoder: Encoder, shift: int, rng: random.Random
) -> Batch:
    """Pad to one length and mask answers, each example twice with complementary masks.

    Row ``i - shift`` predicts token i, as in decoding.

    The mask ratio r is drawn uniformly per example and every masked token counts the same. With
    complementary masks every token is predicted exactly once a pair, and the variance that the
    1 / r of the exact bound brings is gone; contexts with many masks weigh more than in the bound.
    Every second example is masked as block decoding meets it: known, then partly, then masked.
    """
    length = max(len(e.prompt) + len(e.answer) for e in examples) + room_for(rng)
    generator = torch.Generator().manual_seed(rng.getrandbits(60))
    rows = [padded(example, length, encoder.pad) for example in examples]
    clean = torch.tensor([row for row in rows for _ in range(2)])
    mask = torch.cat([_masks(e, length, rng, generator) for e in examples])
    inputs = clean.masked_fill(mask, encoder.mask)
    weights = mask * torch.stack([worth(e, length) for e in examples for _ in range(2)])
    weights /= weights.sum()
    # What the roll brings to the end comes from the prompt, which weighs nothing.
    return Batch(inputs, clean.roll(-shift, dims=1), weights.roll(-shift, dims=1))


def room_for(rng: random.Random) -> int:
    """How many end tokens follow the longest answer of a batch."""
    return rng.randint(0, LONGEST_FILL) if rng.random() < LONG_FILL_SHARE else 0


def padded(example: Example, length: int, pad: int) -> list[int]:
    """Prompt, answer and padding."""
    ids = example.prompt + example.answer
    return ids + [pad] * (length - len(ids))


def worth(example: Example, length: int) -> torch.Tensor:
    """How much a position counts, float32 [L]: answers fully, the padding behind them a little."""
    counted = torch.full((length,), 0.05)
    start = len(example.prompt)
    counted[:start] = 0.0
    counted[start : start + len(example.answer)] = torch.tensor(example.asked, dtype=torch.float32)
    return counted


def _masks(
    example: Example, length: int, rng: random.Random, generator: torch.Generator
) -> torch.Tensor:
    """Two masks of the answer, bool [2, L]."""
    pick = torch.rand(length, generator=generator) < rng.random()
    masks = torch.stack([pick, ~pick])
    masks[:, : len(example.prompt)] = False
    if rng.random() < BLOCKWISE_SHARE:
        _mask_blockwise(masks, example, rng)
    answer = slice(len(example.prompt), len(example.prompt) + len(example.answer))
    masks[:, answer] &= torch.tensor(example.asked)
    return masks


def _mask_blockwise(masks: torch.Tensor, example: Example, rng: random.Random) -> None:
    """Everything before a random place known, everything from a later place masked."""
    start = len(example.prompt)
    known = rng.randrange(start, start + len(example.answer))
    masks[:, start:known] = False
    masks[:, known + rng.randint(1, 32) :] = True
