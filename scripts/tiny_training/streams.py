"""Training batches of block-causal and causal families: clean text and noisy copies of the answer.

A sequence is ``[text | copy | copy]``, all with the positions of the text. A block of a copy sees
the clean text before it and itself, as the block under way does in decoding, so that one pass
trains every block of an answer behind text that is right; nothing of the text sees a copy.

| | SDAR, A2D | Fast-dLLM v2 | WeDLM | Nemotron-Labs-Diffusion |
| --- | --- | --- | --- | --- |
| text | block-causal | block-causal | causal | causal |
| blocks begin | at 0, at the prompt's end | at 0 | anywhere behind the prompt | the same |
| a block of a copy sees of itself | all | all | known rows, then masks: those before | all |
| two copies | complementary | complementary | complementary | some masks; masks alone |
| first token of a block | masked as others | from the text | masked as others | known |
| text predicts | nothing | first tokens of blocks | every token | every token |

Masks are drawn block by block, each with a share of its own. Complementary copies predict every
token once, which stands in for the weight 1 / share of the published losses. Blocks of the causal
families begin anywhere in an answer, as windows and drafts do; a draft is masks behind one token.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from dawn_models.config import BLOCK_CAUSAL, CAUSAL, Attention
from tiny_training.batches import Batch, Encoder, Example, padded, room_for, worth

WINDOW = 16
"""Positions that are noised together where no block has a length: WeDLM decodes in such windows."""

TEXT, FILLER = 0, -1
"""Values of `Rows.copies` for rows of clean text and for those that only fill a sequence up."""

_BEFORE_ALL = -1
"""Block of a prompt that no block reaches into."""

_WHOLE_SHARE = 0.5
"""Share of answers, of causal families, whose first block has its full length: the first window and
the first draft of every answer are such."""


@dataclass(frozen=True)
class Streams:
    """How the sequences of a family are made.

    Attributes:
        attention: what it sees in decoding: block-causal, or causal.
        shift: row i of a block predicts token i + shift.
        mask: id of the mask.
        pad: id of the padding.
    """

    attention: Attention
    shift: int
    mask: int
    pad: int

    @property
    def block(self) -> int:
        """Positions that are noised together."""
        return self.attention.block_length or WINDOW

    @property
    def causal(self) -> bool:
        """Whether text is causal."""
        return self.attention.kind == CAUSAL

    @property
    def in_order(self) -> bool:
        """Whether rows of a block look at those before them alone, known ones being first."""
        return self.causal and self.attention.block_length is None

    @property
    def seeded(self) -> bool:
        """Whether the first token of a block is known when the block begins."""
        return self.causal and not self.in_order

    def blocks(self, start: int, length: int, rng: random.Random) -> Tensor:
        """The block of each position, int64 [length], of a text whose answer begins at `start`."""
        positions = torch.arange(length)
        if self.attention.kind == BLOCK_CAUSAL:
            offset = -start % self.block if self.attention.origin == "prompt" else 0
            return (positions + offset) // self.block
        first = self.block if rng.random() < _WHOLE_SHARE else rng.randint(1, self.block)
        numbers = (positions - start - first).div(self.block, rounding_mode="floor") + 1
        return numbers.where(positions >= start, _BEFORE_ALL)


@dataclass(frozen=True)
class Rows:
    """The rows of one sequence, or of a batch; every tensor is [S] or [B, S].

    Attributes:
        ids: int64, tokens fed.
        positions: int64, where they stand in the text.
        copies: int64, `TEXT`, `FILLER` or the number of a noisy copy.
        blocks: int64, their blocks.
        targets: int64, what each row should predict.
        weights: float32, how much that counts; 0 where nothing is predicted.
    """

    ids: Tensor
    positions: Tensor
    copies: Tensor
    blocks: Tensor
    targets: Tensor
    weights: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them in their order."""
        return (
            *(self.ids, self.positions, self.copies, self.blocks),
            *(self.targets, self.weights),
        )


def stream_batch(
    examples: list[Example], encoder: Encoder, streams: Streams, rng: random.Random
) -> Batch:
    """Pad to one length and lay out text and copies of every example."""
    length = max(len(e.prompt) + len(e.answer) for e in examples) + room_for(rng)
    generator = torch.Generator().manual_seed(rng.getrandbits(60))
    drawn = [_laid_out(e, length, streams, rng, generator) for e in examples]
    rows = stacked(drawn, streams.pad)
    return Batch(
        inputs=rows.ids,
        targets=rows.targets,
        weights=_normalised(rows, streams),
        positions=rows.positions,
        sees=visible(rows, streams).unsqueeze(1),
    )


def _laid_out(
    example: Example,
    length: int,
    streams: Streams,
    rng: random.Random,
    generator: torch.Generator,
) -> Rows:
    start = len(example.prompt)
    clean = torch.tensor(padded(example, length, streams.pad))
    blocks = streams.blocks(start, length, rng)
    asked = torch.ones(length, dtype=torch.bool)
    asked[:start] = False
    asked[start : start + len(example.answer)] = torch.tensor(example.asked)
    masks = noise(streams, blocks, asked, generator)
    return laid_out(streams, clean, blocks, worth(example, length), masks)


def noise(streams: Streams, blocks: Tensor, asked: Tensor, generator: torch.Generator) -> Tensor:
    """The masks of the two copies, bool [2, L].

    Args:
        streams: the family's.
        blocks: int64 [L].
        asked: bool [L], where there may be masks.
        generator: what they are drawn with.
    """
    numbers = blocks - blocks.min()
    shares = torch.rand(int(numbers.max()) + 1, generator=generator)
    picked = torch.rand(len(blocks), generator=generator) < shares[numbers]
    other = torch.ones_like(picked) if streams.seeded else ~picked
    masks = torch.stack([picked, other]) & asked
    if streams.seeded:
        masks[:, first_of_blocks(blocks)] = False
    return masks


def first_of_blocks(blocks: Tensor) -> Tensor:
    """Where a block begins, bool [L]."""
    begins = torch.ones_like(blocks, dtype=torch.bool)
    begins[1:] = blocks[1:] != blocks[:-1]
    return begins


def laid_out(streams: Streams, clean: Tensor, blocks: Tensor, worth: Tensor, masks: Tensor) -> Rows:
    """The rows of a text and of its noisy copies, which begin where something is predicted.

    Args:
        streams: the family's.
        clean: int64 [L], the text.
        blocks: int64 [L].
        worth: float32 [L], how much it counts to predict a token; 0 for the prompt.
        masks: bool [C, L], what the copies do not show.
    """
    parts = [_text(streams, clean, blocks, worth)]
    used = blocks >= blocks[worth.nonzero()[0]]
    for number, mask in enumerate(masks, start=1):
        parts.append(_copy(streams, number, clean, blocks, worth * mask, mask, used))
    return Rows(*map(torch.cat, zip(*(part.tensors for part in parts), strict=True)))


def _text(streams: Streams, clean: Tensor, blocks: Tensor, worth: Tensor) -> Rows:
    """Clean text, whose rows predict the next token: all, or those before a block, or none."""
    predicted = worth
    if not streams.causal:
        predicted = worth * first_of_blocks(blocks) * streams.attention.carry
    positions = torch.arange(len(clean))
    copies = torch.full_like(positions, TEXT)
    return Rows(clean, positions, copies, blocks, _ahead(clean, 1), _ahead(predicted, 1))


def _copy(
    streams: Streams,
    number: int,
    clean: Tensor,
    blocks: Tensor,
    weights: Tensor,
    mask: Tensor,
    used: Tensor,
) -> Rows:
    """The rows of a noisy copy, in the order in which they are fed."""
    shift = streams.shift
    if shift:  # the first token of a block is predicted by a row of the text
        weights = weights * ~first_of_blocks(blocks)
    order = torch.arange(len(clean))
    if streams.in_order:
        order = torch.argsort(2 * blocks + mask, stable=True)
    order = order[used[order]]
    rows = (
        *(clean.masked_fill(mask, streams.mask), torch.arange(len(clean))),
        *(torch.full_like(clean, number), blocks, _ahead(clean, shift), _ahead(weights, shift)),
    )
    return Rows(*(row[order] for row in rows))


def _ahead(x: Tensor, shift: int) -> Tensor:
    """At i what is at i + shift, [L]; zero behind the last."""
    return torch.cat([x[shift:], x.new_zeros(shift)])


def stacked(sequences: list[Rows], pad: int) -> Rows:
    """One batch of sequences, filled up to the longest."""
    longest = max(len(rows.ids) for rows in sequences)
    fillers = (pad, 0, FILLER, 2 * _BEFORE_ALL, pad, 0)
    columns = zip(*(rows.tensors for rows in sequences), strict=True)
    return Rows(
        *(
            torch.stack([_filled(one, longest, filler) for one in column])
            for column, filler in zip(columns, fillers, strict=True)
        )
    )


def _filled(x: Tensor, length: int, value: int) -> Tensor:
    return torch.cat([x, x.new_full((length - len(x),), value)])


def visible(rows: Rows, streams: Streams) -> Tensor:
    """Which row looks at which, bool [B, S, S]; those that fill up look at each other."""
    copies, blocks = (x.unsqueeze(-1) for x in (rows.copies, rows.blocks))
    of_text, at_text = copies == TEXT, (rows.copies == TEXT).unsqueeze(-2)
    earlier = rows.blocks.unsqueeze(-2) < blocks
    if streams.causal:
        known = rows.positions.unsqueeze(-2) <= rows.positions.unsqueeze(-1)
    else:
        known = rows.blocks.unsqueeze(-2) <= blocks
    own = (rows.copies.unsqueeze(-2) == copies) & (rows.blocks.unsqueeze(-2) == blocks)
    if streams.in_order:
        own = own.tril()
    return torch.where(at_text, torch.where(of_text, known, earlier), own)


def _normalised(rows: Rows, streams: Streams) -> Tensor:
    """Weights that sum to 1; where the text is a language model's, its own to 1 beside them."""
    of_text = rows.weights * (rows.copies == TEXT)
    of_copies = rows.weights - of_text
    if not streams.causal:
        return rows.weights / rows.weights.sum()
    return of_text / of_text.sum() + of_copies / of_copies.sum()
