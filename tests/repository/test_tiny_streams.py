"""Sequences of training: what a row of them sees and predicts is what it does in decoding."""

import itertools
import random

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

from dawn_models import Attention, ModelConfig, Transformer
from dawn_models.config import BLOCK_CAUSAL, CAUSAL
from tiny_training.batches import Batch
from tiny_training.objective import weighted_loss
from tiny_training.streams import FILLER, TEXT, Rows, Streams, laid_out, noise, stacked, visible

MASK, PAD, VOCABULARY = 30, 31, 32
LENGTH, START = 21, 6
FAMILIES = {
    "sdar": Streams(Attention(BLOCK_CAUSAL, 4), 0, MASK, PAD),
    "a2d": Streams(Attention(BLOCK_CAUSAL, 4, origin="prompt"), 0, MASK, PAD),
    "fast-dllm": Streams(Attention(BLOCK_CAUSAL, 4, carry=True), 1, MASK, PAD),
    "wedlm": Streams(Attention(CAUSAL), 0, MASK, PAD),
    "nemotron": Streams(Attention(CAUSAL, 5, origin="prompt", carry=True), 0, MASK, PAD),
}
EVERY = pytest.mark.parametrize("family", FAMILIES)


def drawn(streams: Streams, seed: int, length: int = LENGTH) -> Rows:
    """A text of random tokens with its copies; its answer is long enough for several blocks."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randint(0, MASK, (length,), generator=generator)
    blocks = streams.blocks(START, length, random.Random(seed))
    answer = torch.arange(length) >= START
    masks = noise(streams, blocks, answer, generator)
    return laid_out(streams, clean, blocks, answer.float(), masks)


def batch_of(streams: Streams, *seeds: int) -> Rows:
    return stacked([drawn(streams, seed, LENGTH - seed % 3) for seed in seeds], PAD)


def a_model() -> Transformer:
    config = ModelConfig(
        family="sdar",
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_layers=2,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        max_length=64,
        rope_theta=100.0,
        norm_eps=1e-6,
        qkv_bias=True,
        qk_norm=False,
        tied_head=False,
        shift=0,
        mask_token_id=MASK,
        eos_token_ids=(PAD,),
        pad_token_id=PAD,
    )
    torch.manual_seed(5)
    return Transformer(config).requires_grad_(False)


def logits_of(model: Transformer, rows: Rows, streams: Streams) -> Tensor:
    sees = visible(rows, streams).unsqueeze(1)
    return model.head(model.hidden(rows.ids, sees, rows.positions))


def looks(family: str, rows: Rows, row: int, at: int) -> bool:
    """The rule in words, one pair of rows at a time; rows are those of one sequence."""
    copy, other = int(rows.copies[row]), int(rows.copies[at])
    block, its = int(rows.blocks[row]), int(rows.blocks[at])
    place, where = int(rows.positions[row]), int(rows.positions[at])
    if FILLER in (copy, other):
        if copy != other:
            return False
        return at <= row if family == "wedlm" else True
    if other == TEXT and copy == TEXT:
        return where <= place if family in ("wedlm", "nemotron") else its <= block
    if other == TEXT:
        return its < block
    if copy != other or block != its:
        return False
    if family != "wedlm":
        return True
    here, there = (int(rows.ids[one]) == MASK for one in (row, at))
    return (there, where) <= (here, place)


@EVERY
@pytest.mark.parametrize("seed", range(3))
def test_rows_look_where_the_rule_in_words_says(family: str, seed: int) -> None:
    streams = FAMILIES[family]
    batch = batch_of(streams, seed, seed + 1)
    found = visible(batch, streams)
    assert found.any(-1).all(), "a row that sees nothing gives no number"
    for number, sees in enumerate(found):
        rows = Rows(*(tensor[number] for tensor in batch.tensors))
        size = range(len(rows.ids))
        expected = [[looks(family, rows, row, at) for at in size] for row in size]
        assert torch.equal(sees, torch.tensor(expected))


@EVERY
def test_a_row_does_not_feel_what_it_must_not_see(family: str) -> None:
    """Through all layers: own block, other copies, clean answers of it and what comes later."""
    streams, model = FAMILIES[family], a_model()
    rows = batch_of(streams, 4)
    copies, blocks, positions = rows.copies[0], rows.blocks[0], rows.positions[0]
    size = len(copies)
    same = Rows(*(one.expand(size, size) for one in rows.tensors))
    changed = Rows(*(one.clone() for one in same.tensors))
    changed.ids.diagonal().add_(1).remainder_(MASK)
    before, after = (logits_of(model, one, streams) for one in (same, changed))
    felt_by_row = (after != before).any(-1)
    for at, felt in enumerate(felt_by_row):
        assert felt[at]
        if copies[at] == TEXT:
            reached = (copies != TEXT) & (blocks > blocks[at])
            own = positions >= positions[at] if streams.causal else blocks >= blocks[at]
            allowed = reached | ((copies == TEXT) & own)
        else:
            allowed = (copies == copies[at]) & (blocks == blocks[at])
        assert torch.equal(felt, felt & allowed), f"row {at} is felt where it must not be"
        if copies[at] != TEXT and not streams.in_order:
            assert torch.equal(felt, allowed)


def in_decoding(model: Transformer, streams: Streams, text: Rows, block: Rows) -> Tensor:
    """Logits of the rows of a block, fed behind the text before it as the schemes feed them."""
    ids, positions = (
        torch.cat(pair) for pair in ((text.ids, block.ids), (text.positions, block.positions))
    )
    size, before = len(ids), len(text.ids)
    order = torch.arange(size)
    sees = order[None] <= order[:, None]
    if not streams.causal:
        numbers = torch.cat([text.blocks, block.blocks])
        sees = numbers[None] <= numbers[:, None]
    elif not streams.in_order:
        sees[before:] = True
    return model.head(model.hidden(ids[None], sees[None, None], positions[None]))[0, before:]


@EVERY
def test_a_block_of_training_computes_what_it_does_in_decoding(family: str) -> None:
    streams, model = FAMILIES[family], a_model()
    numbers = set()
    for seed, copy in itertools.product(range(3), (1, 2)):
        rows = drawn(streams, seed)
        found = logits_of(model, stacked([rows], PAD), streams)[0]
        for block in rows.blocks[rows.copies == copy].unique():
            here = (rows.copies == copy) & (rows.blocks == block)
            before = (rows.copies == TEXT) & (rows.blocks < block)
            parts = [Rows(*(one[which] for one in rows.tensors)) for which in (before, here)]
            expected = in_decoding(model, streams, *parts)
            assert torch.allclose(found[here], expected, atol=1e-5, rtol=1e-5)
            numbers.add(int(block))
    assert len(numbers) > 1, "the first block alone follows nothing but the prompt"


def predictions(rows: Rows) -> dict[tuple[int, int, int], float]:
    """(copy, position of the row, token predicted) -> weight."""
    found = zip(
        rows.copies.tolist(), rows.positions.tolist(), rows.targets.tolist(), rows.weights.tolist(),
        strict=True,
    )  # fmt: skip
    return {(copy, place, target): weight for copy, place, target, weight in found if weight}


HAND = {
    # Text "10 11 12 | 13 14 15 | 16", the answer begins at 2, masks at 2, 4, 5 and at 3, 6.
    "fast-dllm": [(0, 2, 13), (0, 5, 16), (1, 1, 12), (1, 3, 14), (1, 4, 15)],
    "sdar": [(1, 2, 12), (1, 4, 14), (1, 5, 15), (2, 3, 13), (2, 6, 16)],
    "wedlm": [(0, i, 11 + i) for i in range(1, 6)]
    + [(1, 2, 12), (1, 4, 14), (1, 5, 15), (2, 3, 13), (2, 6, 16)],
}


@pytest.mark.parametrize("family", HAND)
def test_every_token_is_predicted_by_the_row_that_predicts_it_in_decoding(family: str) -> None:
    streams = FAMILIES[family]
    clean, blocks = torch.arange(10, 17), torch.tensor([0, 0, 0, 1, 1, 1, 2])
    masks = torch.zeros(2, 7, dtype=torch.bool)
    masks[0, [2, 4, 5]] = masks[1, [3, 6]] = True
    answer = torch.tensor([0, 0, 1, 1, 0.5, 1, 1])
    rows = laid_out(streams, clean, blocks, answer, masks)
    expected = {(*one, target): float(answer[target - 10]) for *one, target in HAND[family]}
    assert predictions(rows) == expected
    shown = rows.ids[rows.copies == 2].tolist()
    if family == "wedlm":  # masks are fed behind what is known, each with its own position
        assert shown == [10, 11, 12, 14, 15, MASK, MASK]
        assert rows.positions[rows.copies == 2].tolist() == [0, 1, 2, 4, 5, 3, 6]
    else:
        assert shown == [10, 11, 12, MASK, 14, 15, MASK]


def test_copies_hide_every_token_once_and_a_draft_all_but_its_first() -> None:
    for family, seed in itertools.product(FAMILIES, range(5)):
        streams = FAMILIES[family]
        blocks = streams.blocks(START, LENGTH, random.Random(seed))
        asked = torch.arange(LENGTH) >= START
        asked[9] = False
        one, two = noise(streams, blocks, asked, torch.Generator().manual_seed(seed))
        if not streams.seeded:
            assert torch.equal(one ^ two, asked)
            assert not (one & two).any()
            continue
        begins = torch.tensor(
            [i == START or bool(blocks[i] != blocks[i - 1]) for i in range(LENGTH)]
        )
        assert torch.equal(two, asked & ~begins)
        assert not (one & ~two).any()


def test_blocks_begin_where_those_of_decoding_do() -> None:
    rng = random.Random(0)
    assert FAMILIES["sdar"].blocks(6, 13, rng).tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3]
    assert FAMILIES["a2d"].blocks(6, 13, rng).tolist() == [0] * 2 + [1] * 4 + [2] * 4 + [3] * 3
    seen = {tuple(FAMILIES["nemotron"].blocks(6, 13, rng).tolist()) for _ in range(200)}
    assert {blocks[:6] for blocks in seen} == {(-1,) * 6}
    assert {blocks.count(0) for blocks in seen} == {1, 2, 3, 4, 5}
    assert {blocks.count(1) for blocks in seen} == {2, 3, 4, 5}


def test_a_row_that_fills_up_changes_nothing() -> None:
    streams, model = FAMILIES["wedlm"], a_model()
    alone, together = batch_of(streams, 2), batch_of(streams, 2, 3)
    size = alone.ids.shape[1]
    assert (together.copies[0, size:] == FILLER).all()
    assert not together.weights[0, size:].any()
    found = logits_of(model, together, streams)[0, :size]
    assert torch.allclose(found, logits_of(model, alone, streams)[0], atol=1e-5, rtol=1e-5)


def test_the_loss_is_the_weighted_cross_entropy_of_rows_that_predict() -> None:
    streams, model = FAMILIES["fast-dllm"], a_model()
    rows = batch_of(streams, 0, 1)
    sees = visible(rows, streams).unsqueeze(1)
    batch = Batch(rows.ids, rows.targets, rows.weights, rows.positions, sees)
    logits = logits_of(model, rows, streams)
    expected = sum(
        weight * F.cross_entropy(row, target)
        for row, target, weight in zip(
            logits.flatten(0, 1), rows.targets.flatten(), rows.weights.flatten(), strict=True
        )
    )
    assert weighted_loss(model, batch).item() == pytest.approx(float(expected), rel=1e-5)
