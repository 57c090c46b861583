"""The drawn form of Conv: what it weighs by hand, its draws, and that it ends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawn_runtime import Decoder, EngineError, OptionError
from dawn_runtime.decoding import Answer, ConvDrawn, Decision, RowState, rails
from dawn_runtime.decoding.schemes.conv_drawn import best_tokens, filled
from dawn_runtime.engine.fake import FakeEngine, fake_manifest
from support.decoding import END, MASK, batch_of, begin, finished


def test_the_best_tokens_are_those_of_a_whole_sort_without_the_mask() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        size, count = int(rng.integers(3, 12)), int(rng.integers(1, 12))
        logits = rng.normal(size=(int(rng.integers(1, 6)), size)).astype(np.float32)
        mask = int(rng.integers(0, size))
        tokens, probabilities = best_tokens(logits, count, mask)
        for row, found, shares in zip(logits, tokens, probabilities, strict=True):
            order = [it for it in np.argsort(-row).tolist() if it != mask][:count]
            assert found.tolist() == order
            whole = np.exp(row.astype(np.float64)).sum()
            np.testing.assert_allclose(shares, np.exp(row[order]) / whole, rtol=1e-5)


def test_what_a_position_weighs_follows_what_is_known_around_it() -> None:
    """Width 3, two steps: the position next to the prompt has tanh 1, the other nothing known."""
    scheme, row = ConvDrawn(3, steps=2, top_k=1), RowState.begin(np.array([1]), 2, MASK)
    weights = scheme.weights(row, np.array([1, 2]), np.array([[0.5, 0.3], [0.6, 0.2]]))
    middle = (1 + 1e-5) / 2
    # 0.5 tanh 1 * 2 / (tanh 1 (0.5 + 0.3)) = 1.25, times half of the time.
    np.testing.assert_allclose(weights, [[1.25 * (1 - middle), middle], [0, middle]])


def test_what_waits_to_the_end_is_filled_in_with_the_best_tokens() -> None:
    """With a width of 1 nothing is known around a position: nothing is drawn in four steps."""
    (row,) = begin([[1, 2, 3]], 5)
    engine = FakeEngine(fake_manifest(vocab_size=32))
    batch = finished(batch_of(engine, [row], ConvDrawn(1, steps=4)))
    (done,) = batch.rows.values()
    assert done.finished
    assert done.step == 5
    assert (done.commit_step[3:] == 4).all()


@given(
    steps=st.integers(0, 12),
    top_k=st.integers(1, 40),
    shift=st.sampled_from([0, 1]),
    seed=st.integers(0, 2**64 - 1),
)
def test_every_row_ends_in_time(steps: int, top_k: int, shift: int, seed: int) -> None:
    rows = begin([[1, 2, 3], [4]], 9, shift=shift)
    scheme = ConvDrawn(5, steps=steps, top_k=top_k, seed=seed)
    batch = finished(batch_of(FakeEngine(fake_manifest(vocab_size=32)), rows, scheme))
    for row in batch.rows.values():
        assert row.finished
        assert not (row.ids == MASK).any()
        assert row.step <= (steps or 9) + 1


def test_end_tokens_fill_what_is_not_given_behind_the_second_one() -> None:
    """Positions 3 and 8 are given; 5 was decided before, 4 and 6 are drawn now."""
    ids = np.array([END, 5, MASK, 7, MASK, MASK, MASK, MASK, 6])
    row = RowState.fill(ids, 2, MASK)
    row = row.advance(*(np.array([value]) for value in (5, 9, 0.5)), np.zeros(0, dtype=np.int64))
    drawn = np.array([4, 6])
    few = Decision(drawn, np.array([1, END]), np.full(2, 0.5, dtype=np.float32))
    after = rails.apply(row, filled(row, few, END), ())
    assert after.ids.tolist() == [END, 5, MASK, 7, 1, 9, END, END, 6]
    more = Decision(drawn, np.array([END, 1]), np.full(2, 0.5, dtype=np.float32))
    after = rails.apply(row, filled(row, more, END), ())
    assert after.ids.tolist() == [END, 5, MASK, 7, END, END, END, END, 6]
    assert after.commit_confidence[4:8].tolist() == [0.5, 1, 1, 1]
    one = Decision(drawn, np.array([1, 1]), np.full(2, 0.5, dtype=np.float32))
    assert filled(row, one, END) is one


def test_equal_seeds_draw_equal_answers_and_others_do_not(fake_decoder: Decoder) -> None:
    def answer(seed: int) -> list[int]:
        tokens: list[int] = fake_decoder.generate(
            input_ids=[1, 2, 3],
            max_new_tokens=24,
            stop_at_eos=False,
            policy="conv-drawn",
            options={"seed": seed},
        ).tokens.tolist()
        return tokens

    assert answer(1) == answer(1)
    assert answer(1) != answer(2)


def test_it_needs_logits_and_has_no_cache(fake_decoder: Decoder) -> None:
    (row,) = begin([[1]], 2)
    scheme = ConvDrawn()
    (ask,) = scheme.ask(row)
    none = np.zeros((0, 3), dtype=np.float32)
    with pytest.raises(EngineError, match="scheme 'conv-drawn' reads logits"):
        scheme.decide(row, (Answer(ask, np.array([1, 1]), np.ones(2, np.float32), none),))
    with pytest.raises(OptionError, match="eos_fill is 99; expected an id of the vocabulary"):
        fake_decoder.generate(
            input_ids=[1], max_new_tokens=4, policy="conv-drawn", options={"eos_fill": 99}
        )
    with pytest.raises(OptionError, match="scheme 'conv-drawn' has no cache"):
        fake_decoder.generate(input_ids=[1], max_new_tokens=4, policy="conv-drawn", cache="dual")
