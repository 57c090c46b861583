"""The exported graphs against the published reference and against themselves.

Every family in every dialect, run by ONNX Runtime.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dawn_runtime import Artifact, Engine, StepInputs, StepOutputs, open_engine
from support.golden import GOLDEN, barred, reference_logits

VARIANTS = [(family, dialect) for family in ("dream", "llada") for dialect in ("portable", "fused")]


@pytest.fixture(scope="module", params=VARIANTS, ids="-".join)
def variant(request: pytest.FixtureRequest) -> tuple[str, str]:
    family, dialect = request.param
    return family, dialect


@pytest.fixture(scope="module")
def engine(variant: tuple[str, str], exported: Callable[..., Path]) -> Iterator[Engine]:
    engine = open_engine(Artifact.open(exported(*variant)), threads=1)
    yield engine
    engine.close()


def whole(ids: np.ndarray) -> StepInputs:
    """Every token fed, seen and asked for."""
    batch, length = ids.shape
    rows = np.tile(np.arange(length), (batch, 1))
    mask = np.ones((batch, 1, length, length), dtype=bool)
    return StepInputs(
        ids, rows, mask, rows, rows, want_logits=True, want_present=True, want_entropy=True
    )


def cached(ids: np.ndarray, full: StepOutputs, kept: np.ndarray, fed: np.ndarray) -> StepInputs:
    """Some tokens fed over the keys and values of others."""
    batch, total = len(ids), len(kept) + len(fed)
    return replace(
        whole(ids[:, fed]),
        position_ids=np.tile(fed, (batch, 1)),
        attention_mask=np.ones((batch, 1, len(fed), total), dtype=bool),
        past=tuple(np.ascontiguousarray(array[:, :, kept]) for array in full.present),
    )


def some_ids(batch: int, length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 250, (batch, length))


def assert_close(found: np.ndarray, expected: np.ndarray, atol: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def logits_of(outputs: StepOutputs) -> np.ndarray:
    assert outputs.logits is not None
    return outputs.logits


def test_logits_and_attention_equal_the_published_reference(
    engine: Engine, variant: tuple[str, str]
) -> None:
    golden = np.load(GOLDEN / f"{variant[0]}-random" / "forward.npz")
    found = engine.run(whole(golden["input_ids"]))
    logits = reference_logits(variant[0])
    weights = np.exp(logits.astype(np.float64))
    shares = weights / weights.sum(axis=-1, keepdims=True)
    np.testing.assert_array_equal(found.tokens, weights.argmax(axis=-1))
    assert_close(found.confidence, shares.max(axis=-1), 1e-4)
    assert_close(found.entropy, -(shares * np.log(shares)).sum(axis=-1), 1e-3)
    assert_close(logits_of(found), barred(logits), 1e-3)
    assert_close(found.attention, golden["attention"], 1e-5)


def test_tokens_are_the_argmax_of_the_logits_and_the_confidence_leaves_the_mask_its_share(
    engine: Engine,
) -> None:
    found = engine.run(whole(some_ids(2, 20)))
    logits = logits_of(found).astype(np.float64)
    np.testing.assert_array_equal(found.tokens, logits.argmax(axis=-1))
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    alone = 1 / weights.sum(axis=-1)
    assert (found.confidence < alone + 1e-6).all()
    assert_close(found.confidence, alone, 0.02)


def test_evidence_sums_to_one_and_vanishes_where_the_mask_forbids(engine: Engine) -> None:
    inputs = whole(some_ids(2, 12))
    inputs.attention_mask[1, :, :, 9:] = False
    attention = engine.run(inputs).attention
    assert_close(attention.sum(axis=-1), np.ones((2, 12)), 1e-5)
    assert not attention[1, :, 9:].any()


@pytest.mark.parametrize(("kept", "seed"), [(1, 0), (7, 1), (12, 2)])
def test_a_cached_pass_equals_the_full_pass_whatever_the_order_of_the_cache(
    engine: Engine, kept: int, seed: int
) -> None:
    ids = some_ids(2, 13, seed)
    full = engine.run(whole(ids))
    order = np.random.default_rng(seed).permutation(13)
    found = engine.run(cached(ids, full, order[:kept], order[kept:]))
    fed = order[kept:]
    assert_close(logits_of(found), logits_of(full)[:, fed], 1e-4)
    assert_close(found.attention, full.attention[:, fed][:, :, order], 1e-5)
    for new, whole_cache in zip(found.present, full.present, strict=True):
        assert_close(new, whole_cache[:, :, fed], 1e-4)


def test_rows_may_be_few_repeated_and_in_any_order(engine: Engine) -> None:
    inputs = whole(some_ids(2, 11))
    full = engine.run(inputs)
    rows = np.array([[10, 3, 3], [0, 5, 1]])
    found = engine.run(replace(inputs, logit_rows=rows, attention_rows=rows[:, ::-1].copy()))
    assert_close(found.confidence, np.take_along_axis(full.confidence, rows, axis=1), 1e-5)
    asked = np.take_along_axis(full.attention, rows[:, ::-1, None], axis=1)
    assert_close(found.attention, asked, 1e-6)


@pytest.mark.parametrize("length", [1, 2, 17])
def test_one_head_row_and_no_evidence_are_enough(engine: Engine, length: int) -> None:
    inputs = whole(some_ids(1, length))
    one, none = np.array([[length - 1]]), np.zeros((1, 0), dtype=np.int64)
    full = engine.run(inputs)
    found = engine.run(replace(inputs, logit_rows=one, attention_rows=none))
    assert found.attention.shape == (1, 0, length)
    assert_close(logits_of(found), logits_of(full)[:, -1:], 1e-4)


def test_a_padded_row_of_a_batch_equals_the_row_alone(engine: Engine) -> None:
    ids = some_ids(2, 16)
    padded = whole(ids)
    padded.attention_mask[1, :, :, 10:] = False
    found, alone = engine.run(padded), engine.run(whole(ids[1:, :10]))
    assert_close(logits_of(found)[1:, :10], logits_of(alone), 1e-4)
    assert_close(found.attention[1:, :10, :10], alone.attention, 1e-5)


@pytest.mark.parametrize("family", ["dream", "llada"])
def test_dialects_agree(family: str, exported: Callable[..., Path]) -> None:
    inputs, found = whole(some_ids(1, 30)), []
    for dialect in ("portable", "fused"):
        engine = open_engine(Artifact.open(exported(family, dialect)), threads=1)
        found.append(logits_of(engine.run(inputs)))
        engine.close()
    assert_close(found[0], found[1], 1e-4)


def test_float16_stays_near_the_published_reference(exported: Callable[..., Path]) -> None:
    engine = open_engine(Artifact.open(exported("dream", "fused", "fp16")), threads=1)
    golden = np.load(GOLDEN / "dream-random" / "forward.npz")
    found = engine.run(whole(golden["input_ids"]))
    # 11 bits a value: 28 layers add up to about 1e-3 here.
    assert_close(logits_of(found), barred(reference_logits("dream")), 1e-2)
    assert_close(found.attention, golden["attention"], 1e-3)
    assert {array.dtype for array in found.present} == {np.dtype(np.float16)}
    engine.close()
