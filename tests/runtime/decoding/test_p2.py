"""P2 against a plain reference in random states, its example, and what holds of any answer."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import Decoder, OptionError
from dawn_runtime.decoding import Answer, RowState, rails
from dawn_runtime.decoding.schemes import PathPlanning
from dawn_runtime.decoding.schemes.p2 import still_open
from dawn_runtime.engine.fake import FakeEngine, HashModel
from support.decoding import END, MANIFEST, MANY, MASK, batch_of, begin, states

SCHEME = PathPlanning(steps=4)


def answered(row: RowState, scheme: PathPlanning, p: Any, tokens: Any) -> RowState:
    """The row after a step in which its changeable positions are predicted so."""
    (ask,) = scheme.ask(row)
    none = np.zeros((0, row.length), dtype=np.float32)
    answer = Answer(ask, np.array(tokens), np.array(p, dtype=np.float32), none)
    return rails.apply(row, scheme.decide(row, [answer]), [answer])


def test_the_example_of_the_module() -> None:
    (row,) = begin([[1]], 4)
    first = answered(row, SCHEME, [0.2, 0.9, 0.4, 0.3], [5, 6, 7, 8])
    assert first.ids[1:].tolist() == [MASK, 6, MASK, MASK]
    second = answered(first, SCHEME, [0.8, 0.5, 0.6, 0.7], [9, 10, 11, 12])
    assert second.ids[1:].tolist() == [9, MASK, MASK, 12]
    assert second.final == 1
    third = answered(second, SCHEME, [0.8, 0.5, 0.6, 0.7], [1, 2, 3, 4])
    assert third.ids[1:].tolist() == [9, MASK, 3, 12], "what is decided keeps its token"
    last = answered(third, SCHEME, [0.1, 0.1, 0.1, 0.1], [1, 2, 3, 4])
    assert last.ids[1:].tolist() == [9, 2, 3, 12]
    assert last.finished


def test_the_mask_waits_even_in_the_last_step() -> None:
    (row,) = begin([[1]], 2)
    once = answered(row, PathPlanning(steps=1), [0.9, 0.8], [MASK, 6])
    assert once.ids[1:].tolist() == [MASK, 6]
    assert not once.finished
    assert answered(once, PathPlanning(steps=1), [0.9, 0.8], [5, 6]).finished


def test_how_many_stay_open_is_reckoned_in_float32() -> None:
    assert [still_open(4, step, 4) for step in range(5)] == [3, 2, 1, 0, 0]
    assert [still_open(48, step, 24) for step in range(3)] == [46, 44, 42]
    # 5 (1 - 4/5) is 0.9999999999999998 in float64 and 1 in float32.
    assert (int(5 * (1 - 4 / 5)), still_open(5, 3, 5)) == (0, 1)


def plain_step(row: RowState, least: int, p: list[float], tokens: list[int]) -> list[int]:
    """The ids after a step, position by position; no two confidences are equal."""
    places = [at for at in range(row.length) if row.masked[at] or row.commit_step[at] >= 0]
    known = {
        at: (0.0 if token == MASK else share)
        for at, share, token in zip(places, p, tokens, strict=True)
    }
    waits = set(sorted(places, key=lambda at: known[at])[:least])
    ids = row.ids.tolist()
    for at, token in zip(places, tokens, strict=True):
        if at in waits:
            ids[at] = MASK
        elif row.masked[at]:
            ids[at] = token
    return ids


def test_it_opens_and_decides_what_a_plain_reference_does_in_random_states() -> None:
    rng = np.random.default_rng(11)
    reopened = 0
    for _ in range(MANY):
        ids = np.full(12, MASK)
        ids[:2] = 4
        ids[2 + np.flatnonzero(rng.random(10) < 0.2)] = 5
        ids[4] = MASK
        scheme = PathPlanning(int(rng.integers(2, 8)))
        row, count = RowState.fill(ids, 2, MASK), int((ids == MASK).sum())
        for step in range(2):
            p = rng.permutation(np.linspace(0.05, 0.95, count)).tolist()
            tokens = rng.integers(0, 3, count)
            tokens[rng.random(count) < 0.1] = MASK
            if (tokens[row.masked[row.masked | (row.commit_step >= 0)]] == MASK).all():
                tokens[:] = 1  # needs logits; see the properties
            expected = plain_step(row, still_open(count, step, scheme.steps), p, tokens.tolist())
            before, row = row, answered(row, scheme, p, tokens)
            assert row.ids.tolist() == expected
            reopened += int((row.masked & ~before.masked).sum())
            if row.finished:
                break
    assert reopened > MANY // 10


TEMPLATES = st.lists(st.sampled_from([1, 2, 3, END, MASK, MASK, MASK]), min_size=1, max_size=16)


@given(
    template=TEMPLATES,
    steps=st.integers(0, 20),
    shift=st.sampled_from([0, 1]),
    end=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40)
def test_every_row_ends_in_time_keeps_what_is_given_and_is_final_at_once(
    template: list[int], steps: int, shift: int, end: bool, seed: int
) -> None:
    ids = np.array([5, 6, *template, MASK])
    row = RowState.fill(ids, 2, MASK, (END,) if end else (), shift=shift)
    scheme = PathPlanning(steps)
    before = row
    for (after,) in states(batch_of(FakeEngine(MANIFEST, HashModel(32, seed)), [row], scheme)):
        np.testing.assert_array_equal(after.ids[ids != MASK], ids[ids != MASK])
        assert after.final in (row.final, len(ids))
        assert after.step <= scheme.bound(row)
        before = after
    assert before.finished
    assert end or MASK not in before.ids


def test_steps_are_one_a_position_unless_said(fake_decoder: Decoder) -> None:
    def ask(**options: int) -> int:
        given_: dict[str, Any] = {"input_ids": [1], "max_new_tokens": 12, "policy": "p2"}
        return fake_decoder.generate(**given_, options=options, stop_at_eos=False).forwards

    assert (ask(), ask(steps=12), ask(steps=5)) == (12, 12, 5)


def test_what_it_cannot_do_is_refused_in_one_line(fake_decoder: Decoder) -> None:
    given_: dict[str, Any] = {"input_ids": [1], "max_new_tokens": 4, "policy": "p2"}
    with pytest.raises(OptionError, match="scheme 'p2' has no cache; leave it at 'none'"):
        fake_decoder.generate(**given_, cache="dual")
    with pytest.raises(OptionError, match="'p2' has no window; leave window out, got 'sliding'"):
        fake_decoder.generate(**given_, window="sliding")
    with pytest.raises(OptionError, match="'p2' has no window; leave block_length out, got 8"):
        fake_decoder.generate(**given_, block_length=8)
    with pytest.raises(OptionError, match="steps is -1; expected an integer from 0 to"):
        fake_decoder.generate(**given_, options={"steps": -1})
