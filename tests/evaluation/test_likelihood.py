"""Likelihoods beside what they are by hand, mask by mask and token by token."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawn_eval.likelihood import (
    bound,
    drawn_masks,
    estimate,
    every_mask,
    exact_request,
    found,
    log_probabilities,
    masked_request,
)
from dawn_runtime import Decoder, OptionError, StepInputs
from dawn_runtime.engine.fake import FakeEngine, HashModel, fake_manifest
from dawn_runtime.request import Request

VOCABULARY = 32


def decoder_of(shift: int = 0, kind: str = "full") -> Decoder:
    from dataclasses import replace

    from dawn_runtime.manifest_records import Attention

    manifest = fake_manifest(vocab_size=VOCABULARY, prediction_shift=shift)
    manifest = replace(manifest, attention=Attention(kind))
    return Decoder(manifest, FakeEngine(manifest, HashModel(VOCABULARY, 3)))


def run(decoder: Decoder, requests: list[Request]) -> None:
    with decoder.batch(max_rows=4, max_tokens=400) as batch:
        for request in requests:
            key = batch.admit(request)
            while not batch.finished(key):
                batch.step()
            batch.leave(key)


def logits_of(decoder: Decoder, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What the engine says of every row, float32 [S, V]; mask is bool [S, S]."""
    rows = np.arange(len(ids))[None]
    none = np.zeros((1, 0), dtype=np.int64)
    inputs = StepInputs(ids[None], rows, mask[None, None], rows, none, want_logits=True)
    logits = decoder._engine.run(inputs).logits
    assert logits is not None
    return logits[0]


def plain(logits: np.ndarray, token: int) -> float:
    wide = [float(one) for one in logits]
    best = max(wide)
    return wide[token] - best - math.log(sum(math.exp(one - best) for one in wide))


@pytest.mark.parametrize("shift", [0, 1])
def test_masked_tokens_are_as_probable_as_the_model_says(shift: int) -> None:
    decoder, mask_id = decoder_of(shift), VOCABULARY - 1
    prompt, text = np.array([4, 7]), np.array([3, 9, 5])
    for masked in every_mask(3):
        request = masked_request(decoder, prompt, text, masked)
        run(decoder, [request])
        ids = np.concatenate([prompt, np.where(masked, mask_id, text)])
        logits = logits_of(decoder, ids, np.ones((5, 5), dtype=bool))
        open_ = [n for n in range(3) if masked[n]]
        expected = sum(plain(logits[2 + n - shift], int(text[n])) for n in open_)
        assert found(request).log_probability == pytest.approx(expected, rel=1e-9)
        best = [int(logits[2 + n - shift].argmax()) for n in open_]
        assert found(request).greedy == (best == [int(text[n]) for n in open_])


def test_a_causal_text_is_as_probable_as_its_tokens_one_by_one() -> None:
    decoder = decoder_of(1, "causal")
    prompt, text = np.array([4, 7]), np.array([3, 9, 5, 3])
    request = exact_request(decoder, prompt, text)
    run(decoder, [request])
    total, ids = 0.0, prompt
    for token in text.tolist():  # a run for each, of what stands before it
        see = np.tril(np.ones((len(ids), len(ids)), dtype=bool))
        total += plain(logits_of(decoder, ids, see)[-1], token)
        ids = np.append(ids, token)
    assert found(request).log_probability == pytest.approx(total, rel=1e-9)
    likely = decoder.generate(
        input_ids=prompt, policy="autoregressive", max_new_tokens=4, stop_at_eos=False
    ).tokens
    again = exact_request(decoder, prompt, likely)
    run(decoder, [again])
    assert found(again).greedy
    assert not found(request).greedy


def test_models_are_asked_as_they_look() -> None:
    some = np.array([1, 2])
    with pytest.raises(OptionError, match="attend"):
        exact_request(decoder_of(), some, some)
    with pytest.raises(OptionError, match="attend"):
        masked_request(decoder_of(1, "causal"), some, some, np.array([True, False]))


# The estimate


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 16), st.integers(0, 9))
def test_masks_are_of_every_size_and_as_many_as_asked_for(
    length: int, batches: int, batch: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    masks = list(drawn_masks(rng, length, batches * batch, batch))
    assert len(masks) == batches * batch
    sizes = [int(mask.sum()) for mask in masks]
    assert all(len(mask) == length for mask in masks)
    assert all(1 <= size <= length for size in sizes)
    if batch % length == 0:
        for start in range(0, len(sizes), batch):  # round the numbers once, or several times
            assert sorted(sizes[start : start + batch]) == sorted(
                list(range(1, length + 1)) * (batch // length)
            )


def test_sizes_of_a_batch_are_those_of_the_published_code() -> None:
    """round(linspace(k, k + (b - 1) * (n / b), b)), then round the numbers 1 to n."""
    for seed in range(9):
        k = int(np.random.default_rng(seed).integers(7)) + 1
        expected = [(round(k + i * (7 / 3)) - 1) % 7 + 1 for i in range(3)]
        masks = drawn_masks(np.random.default_rng(seed), 7, 3, 3)
        assert [int(mask.sum()) for mask in masks] == expected


def test_numbers_that_do_not_go_together_are_refused() -> None:
    for samples, batch in ((3, 2), (0, 1), (4, 0)):
        with pytest.raises(OptionError, match=f"mc_samples is {samples} and mc_batch {batch}"):
            next(drawn_masks(np.random.default_rng(0), 5, samples, batch))
    with pytest.raises(OptionError, match="at most 12"):
        next(every_mask(13))


def test_the_bound_by_hand() -> None:
    """Two tokens: half of the time one is masked (either, weight 2), else both (weight 1)."""
    masks = [np.array(one) for one in ([False, True], [True, False], [True, True])]
    sums = [-1.0, -3.0, -5.0]
    assert bound(2, masks, sums) == pytest.approx(0.5 * (2 * -1 + 2 * -3) / 2 + 0.5 * -5)
    assert estimate(2, masks, sums) == pytest.approx((2 * -1 + 2 * -3 + -5) / 3)


def test_the_estimate_comes_to_the_bound() -> None:
    decoder = decoder_of()
    prompt, text = np.array([4, 7]), np.array([3, 9, 5])
    masks = list(every_mask(3))
    requests = [masked_request(decoder, prompt, text, mask) for mask in masks]
    run(decoder, requests)
    sums = {m.tobytes(): found(r).log_probability for m, r in zip(masks, requests, strict=True)}
    wanted = bound(3, masks, list(sums.values()))
    drawn = list(drawn_masks(np.random.default_rng(1), 3, 6000, 3))
    got = estimate(3, drawn, [sums[mask.tobytes()] for mask in drawn])
    spread = float(np.std([3 / mask.sum() * sums[mask.tobytes()] for mask in drawn]))
    assert abs(got - wanted) < 4 * spread / math.sqrt(len(drawn))


def pairs() -> Iterator[tuple[int, int]]:
    return itertools.product((1, 5), (2, 30))


@pytest.mark.parametrize(("rows", "size"), [*pairs()])
def test_logarithms_are_taken_where_probabilities_vanish(rows: int, size: int) -> None:
    rng = np.random.default_rng(rows + size)
    logits = rng.normal(scale=200, size=(rows, size)).astype(np.float32)
    tokens = rng.integers(size, size=rows)
    logits[0, 0], logits[0, 1], tokens[0] = 300, -300, 1
    got: Any = log_probabilities(logits, tokens)
    assert np.isfinite(got).all()
    expected = [plain(row, int(token)) for row, token in zip(logits, tokens, strict=True)]
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
