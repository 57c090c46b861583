"""The torch module against the published reference and against itself."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dawn_models import Checkpoint, KeyValue, StepResult, Transformer, load_transformer
from support.golden import barred, reference_logits

GOLDEN = Path(__file__).parent.parent / "data" / "golden"
FAMILIES = ("dream", "llada")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(family: str) -> Transformer:
    return load_transformer(Checkpoint.open(GOLDEN / f"{family}-random"))


def no_past(model: Transformer, batch: int) -> list[KeyValue]:
    config = model.config
    empty = torch.zeros(batch, config.num_kv_heads, 0, config.head_dim)
    return [KeyValue(empty, empty)] * config.num_layers


def step(
    model: Transformer,
    ids: torch.Tensor,
    positions: torch.Tensor,
    *,
    mask: torch.Tensor | None = None,
    rows: torch.Tensor | None = None,
    evidence: torch.Tensor | None = None,
    past: list[KeyValue] | None = None,
) -> StepResult:
    batch, fed = ids.shape
    past = past or no_past(model, batch)
    every = torch.arange(fed)[None].expand(batch, fed)
    total = past[0].key.shape[2] + fed
    return model.step(
        ids,
        positions,
        torch.ones(batch, 1, fed, total, dtype=torch.bool) if mask is None else mask,
        every if rows is None else rows,
        every if evidence is None else evidence,
        torch.arange(fed if rows is None else rows.shape[1])[None].expand(batch, -1),
        past,
        evidence_layers=4,
    )


def some_ids(length: int, batch: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 250, (batch, length), generator=generator)
    return ids, torch.arange(length)[None].expand(batch, length)


def test_logits_and_attention_equal_the_published_reference(
    model: Transformer, family: str
) -> None:
    golden = np.load(GOLDEN / f"{family}-random" / "forward.npz")
    ids = torch.from_numpy(golden["input_ids"])
    result = step(model, ids, torch.arange(ids.shape[1])[None].expand_as(ids))
    logits = barred(reference_logits(family))
    np.testing.assert_allclose(result.logits.numpy(), logits, rtol=0, atol=1e-3)
    np.testing.assert_allclose(result.attention.numpy(), golden["attention"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(model(ids).numpy(), golden["logits"], rtol=0, atol=1e-3)


def test_tokens_and_confidence_are_the_argmax_and_its_probability(model: Transformer) -> None:
    ids, positions = some_ids(12)
    result = step(model, ids, positions)
    assert torch.equal(result.tokens, result.logits.argmax(dim=-1))
    probabilities = model(ids).softmax(dim=-1)
    torch.testing.assert_close(result.confidence, probabilities.amax(dim=-1))


def test_attention_rows_sum_to_one_and_vanish_where_the_mask_forbids(model: Transformer) -> None:
    ids, positions = some_ids(10)
    mask = torch.ones(2, 1, 10, 10, dtype=torch.bool)
    mask[1, :, :, 7:] = False
    attention = step(model, ids, positions, mask=mask).attention
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(2, 10))
    assert attention[1, :, 7:].abs().max() == 0


def test_padded_keys_change_nothing(model: Transformer) -> None:
    ids, positions = some_ids(10, batch=1)
    padded = torch.cat([ids, torch.full((1, 3), 5)], dim=1)
    mask = torch.ones(1, 1, 13, 13, dtype=torch.bool)
    mask[..., 10:] = False
    full = step(model, ids, positions)
    with_padding = step(model, padded, torch.arange(13)[None], mask=mask)
    torch.testing.assert_close(with_padding.logits[:, :10], full.logits, rtol=0, atol=1e-4)


def test_a_full_cache_in_any_order_equals_the_full_pass(model: Transformer) -> None:
    ids, positions = some_ids(12)
    full = step(model, ids, positions)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    kept, fed = order[:8], order[8:]
    past = [KeyValue(key[:, :, kept], value[:, :, kept]) for key, value in full.present]
    cached = step(model, ids[:, fed], positions[:, fed], past=past)
    torch.testing.assert_close(cached.logits, full.logits[:, fed], rtol=0, atol=1e-4)
    over_all_keys = full.attention[:, fed][:, :, torch.cat([kept, fed])]
    torch.testing.assert_close(cached.attention, over_all_keys, rtol=0, atol=1e-5)


def test_only_the_asked_rows_are_computed(model: Transformer) -> None:
    ids, positions = some_ids(9)
    full = step(model, ids, positions)
    rows = torch.tensor([[8, 2, 2], [0, 1, 7]])
    none = torch.zeros(2, 0, dtype=torch.long)
    asked = step(model, ids, positions, rows=rows, evidence=none)
    torch.testing.assert_close(asked.confidence, full.confidence.gather(1, rows))
    assert asked.attention.shape == (2, 0, 9)


def test_positions_matter_only_relative_to_each_other(model: Transformer) -> None:
    ids, positions = some_ids(9)
    here, there = step(model, ids, positions), step(model, ids, positions + 40)
    torch.testing.assert_close(here.logits, there.logits, rtol=0, atol=1e-3)
