"""WINO: it ends, takes back what may be taken back only, and shadows are seen by nobody else."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import Blocks, Decoder, Dual, OptionError, Single, Sliding
from dawn_runtime.decoding import RowState, Window
from dawn_runtime.decoding.schemes import Wino
from dawn_runtime.decoding.schemes.wino import probability_beside_best
from dawn_runtime.engine.fake import FakeEngine, HashModel, fake_manifest
from support.decoding import END, MANIFEST, MASK, batch_of, states

SHARES = st.floats(0, 1)
TEMPLATES = st.lists(st.sampled_from([1, 2, 3, END, MASK, MASK, MASK]), min_size=1, max_size=30)


@given(
    template=TEMPLATES,
    threshold=SHARES,
    revoke=SHARES,
    most=st.integers(5, 20),
    window=st.sampled_from([Blocks(3), Blocks(8), Blocks(128), Single()]),
    end=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=80)
def test_it_ends_and_never_takes_back_what_is_given_or_final(
    template: list[int],
    threshold: float,
    revoke: float,
    most: int,
    window: Window,
    end: bool,
    seed: int,
) -> None:
    ids = np.array([5, 6, *template, MASK])
    row = RowState.fill(ids, 2, MASK, (END,) if end else ())
    scheme = Wino(threshold, revoke, most, window)
    batch = batch_of(FakeEngine(MANIFEST, HashModel(32, seed)), [row], scheme)
    before, given_ = row, ids != MASK
    for (after,) in states(batch):
        np.testing.assert_array_equal(after.ids[given_], ids[given_])
        assert before.final <= after.final
        np.testing.assert_array_equal(after.ids[: before.final], before.ids[: before.final])
        assert after.step <= scheme.bound(row)
        before = after
    assert before.finished
    assert MASK not in before.answer
    if not end:
        assert not before.masked.any()


@given(seed=st.integers(0, 1000), new=st.integers(2, 24))
@settings(max_examples=30)
def test_a_block_gains_more_than_it_loses_over_its_run(seed: int, new: int) -> None:
    """Which is why it ends: never more steps than tokens."""
    row = RowState.begin(np.array([1]), new, MASK)
    engine = FakeEngine(MANIFEST, HashModel(32, seed))
    *_, (last,) = states(batch_of(engine, [row], Wino(0.2, 1.0, window=Single())))
    assert last.step <= new


def test_some_tokens_are_taken_back_and_decided_anew() -> None:
    """Or the properties above would say little."""
    taken_back = 0
    for seed in range(20):
        row = RowState.begin(np.array([1, 2]), 20, MASK)
        batch = batch_of(FakeEngine(MANIFEST, HashModel(32, seed)), [row], Wino(0.4, 0.8))
        before = row
        for (after,) in states(batch):
            taken_back += int((after.masked & ~before.masked).sum())
            before = after
    assert taken_back > 20


def test_the_ask_of_the_docstring() -> None:
    """Five tokens, the last three a block; position 3 was accepted as 8 in the step before."""
    row = RowState.begin(np.array([5, 6]), 3, MASK)
    one = np.array([3])
    row = row.advance(one, np.array([8]), np.ones(1, np.float32), one[:0], final=2)
    (asked,) = Wino(window=Blocks(3)).ask(row)
    assert asked.positions.tolist() == [0, 1, 2, 3, 4, 2, 3, 4]
    assert asked.tokens.tolist() == [5, 6, MASK, 8, MASK, MASK, MASK, MASK]
    assert asked.predict.tolist() == [2, 4, 6]
    assert asked.sees is not None
    assert asked.sees[:5].tolist() == [[True] * 5 + [False] * 3] * 5, "nobody sees the shadow"
    assert np.flatnonzero(~asked.sees[6]).tolist() == [3], "the shadow of 3 sees all but 3"
    assert asked.logits


def test_a_probability_is_one_in_the_models_own_distribution() -> None:
    """Ids that are never predicted have no logit in an answer and keep their share all the same."""
    own = np.random.default_rng(0).normal(size=(50, 9)).astype(np.float32) * 3
    shares = np.exp(own.astype(np.float64))
    shares /= shares.sum(axis=1, keepdims=True)
    barred = own.copy()
    barred[:, 8] = -np.inf
    rows, best, tokens = np.arange(50), barred.argmax(axis=1), np.arange(50) % 8
    confidence = shares[rows, best].astype(np.float32)
    found = probability_beside_best(barred, tokens, best, confidence)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, shares[rows, tokens], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "scheme 'wino': threshold is 1.5; expected a number from 0 to 1"),
        ({"revoke_threshold": -1}, "revoke_threshold is -1; expected a number from 0 to 1"),
        ({"most": 4}, "most is 4; expected an integer >= 5"),
        ({"window": Sliding(4)}, "scheme 'wino' decides block by block; use window 'blocks' or"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Wino(**options)


def test_it_is_a_policy_by_name_with_what_suits_it(fake_decoder: Decoder) -> None:
    result = fake_decoder.generate(
        input_ids=[1, 2], max_new_tokens=20, policy="wino", options={"most": 6}, block_length=8
    )
    assert result.policy == "wino"
    assert result.options == {"threshold": 0.6, "revoke_threshold": 0.9, "most": 6}
    for settings_, message in (
        ({"cache": "dual"}, "scheme 'wino' has no cache; leave it at 'none', got 'dual'"),
        ({"cache": Dual()}, "scheme 'wino' has no cache"),
        ({"temperature": 0.5}, "scheme 'wino' draws no tokens; leave temperature at 0"),
        ({"window": "sliding"}, "scheme 'wino' decides block by block"),
        ({"options": {"window": "single"}}, "window is a setting of its own, no option of scheme"),
        ({"options": {"mots": 6}}, "unknown option of scheme 'wino': 'mots'; did you mean 'most'"),
    ):
        with pytest.raises(OptionError, match=message):
            fake_decoder.generate(input_ids=[1], max_new_tokens=4, policy="wino", **settings_)  # type: ignore[arg-type]


def test_a_model_that_predicts_the_next_token_is_refused() -> None:
    manifest = fake_manifest(prediction_shift=1)
    decoder = Decoder(manifest, FakeEngine(manifest))
    with pytest.raises(OptionError, match="this model predicts the next one; use freedave or a"):
        decoder.generate(input_ids=[1], max_new_tokens=4, policy="wino")
