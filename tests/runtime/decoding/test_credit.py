"""Credit's predictions against a slow plain reference, and the example of its docstring."""

from dataclasses import replace

import numpy as np
import pytest

from dawn_runtime import Decoder, EngineError
from dawn_runtime.decoding import Answer, Credit, Dual, RowState
from dawn_runtime.decoding.schemes.credit import Credits
from dawn_runtime.engine.fake import FakeEngine, fake_manifest
from support.decoding import MASK, batch_of, begin, finished

NO_ROWS = np.zeros((0, 0), dtype=np.float32)
EMPTY = Credits(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def answer_of(scheme: Credit, row: RowState, logits: np.ndarray) -> Answer:
    (ask,) = scheme.ask(row)
    best = logits.argmax(axis=1)
    return Answer(ask, best, softmax(logits).max(axis=1), NO_ROWS, logits=logits)


def test_it_equals_a_slow_one_over_1000_random_steps() -> None:
    """The slow one keeps a credit for every position and token, and takes a whole softmax."""
    rng = np.random.default_rng(3)
    steps = changed = 0
    while steps < 1000:
        size, count = int(rng.integers(3, 12)), int(rng.integers(1, 9))
        scheme = Credit(0.9, float(rng.uniform(0, 3)), float(rng.choice([0.2, 1.0])), 0.8)
        credits_, slow = EMPTY, np.zeros((count, size), dtype=np.float64)
        positions = np.arange(4, 4 + count)
        row = RowState.begin(np.arange(4), count, 99)
        while positions.size:
            logits = rng.normal(size=(len(positions), size)).astype(np.float32)
            answer = answer_of(scheme, row, logits)
            found, credits_ = scheme.credited(answer, positions, credits_)
            slow *= scheme.decay
            best = logits.argmax(axis=1)
            slow[positions - 4, best] += softmax(logits).max(axis=1) ** scheme.gamma
            fused = softmax(logits + scheme.alpha * np.log1p(slow[positions - 4]))
            assert found.tokens.tolist() == fused.argmax(axis=1).tolist()
            np.testing.assert_allclose(found.confidence, fused.max(axis=1), rtol=1e-4)
            assert found.confidence.dtype == np.float32
            changed += int((found.tokens != best).sum())
            if rng.random() < 0.4:  # the first is decided
                positions = positions[1:]
                row = row.advance(
                    np.array([row.settled]), np.array([1]), np.ones(1), np.zeros(0, np.int64)
                )
            steps += 1
    assert changed > 40


def test_what_was_best_before_may_stay_ahead() -> None:
    """0.9 and 0.9 in two steps and nothing in the third: (0.9 0.8 + 0.9) 0.8 = 1.3."""
    scheme = Credit(alpha=0.7, gamma=0.2, decay=0.8)
    row = RowState.begin(np.array([0]), 1, 9)
    logits = np.array([[2.0, 1.9, -9.0]], dtype=np.float32)
    before = Credits(np.array([1]), np.array([1]), np.array([(0.9 * 0.8 + 0.9)], np.float32))
    answer = replace(answer_of(scheme, row, logits), confidence=np.array([0.4], np.float32))
    found, after = scheme.credited(answer, np.array([1]), before)
    assert found.tokens.tolist() == [1]
    np.testing.assert_allclose(after.amounts, [0.4**0.2, 1.296], rtol=1e-5)
    none, _ = scheme.credited(answer, np.array([1]), EMPTY)
    assert none.tokens.tolist() == [0]
    # 1 / 0.4 is what all weigh; the two with credit weigh more by (1 + m)^0.7.
    first, second = 1.0, np.exp(-0.1)
    boosted = [first * (1 + 0.4**0.2) ** 0.7, second * 2.296**0.7]
    expected = boosted[1] / (2.5 - first - second + sum(boosted))
    np.testing.assert_allclose(found.confidence, [expected], rtol=1e-5)


def test_it_needs_logits() -> None:
    scheme, row = Credit(), RowState.begin(np.array([0]), 1, 9)
    answer = replace(answer_of(scheme, row, np.zeros((1, 3), np.float32)), logits=None)
    with pytest.raises(EngineError, match="scheme 'credit' reads logits"):
        scheme.decide(row, (answer,))


@pytest.mark.parametrize("shift", [0, 1])
def test_it_decodes_to_the_end_with_and_without_a_cache(shift: int) -> None:
    for scheme in (Credit(0.5), Credit(0.5, cache=Dual())):
        rows = begin([[1, 2, 3], [4, 5]], 11, shift=shift)
        batch = finished(batch_of(FakeEngine(fake_manifest(vocab_size=32)), rows, scheme))
        for row in batch.rows.values():
            assert row.finished
            assert not (row.ids == MASK).any()


def test_without_weight_it_is_the_threshold_rule(fake_decoder: Decoder) -> None:
    settings = {"input_ids": [1, 2], "max_new_tokens": 20, "stop_at_eos": False}
    credited = fake_decoder.generate(
        policy="credit", options={"alpha": 0, "threshold": 0.1}, **settings
    )
    plain = fake_decoder.generate(policy="threshold", options={"threshold": 0.1}, **settings)
    assert credited.tokens.tolist() == plain.tokens.tolist()
    assert credited.forwards == plain.forwards
