"""Editing against a plain reference in random states, and what holds of any answer of it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import Decoder, OptionError
from dawn_runtime.decoding import Answer, Blocks, RowState, Single, Window, rails
from dawn_runtime.decoding.schemes import Edit
from dawn_runtime.engine.fake import FakeEngine, HashModel
from support.decoding import END, MANIFEST, MASK, batch_of, begin, states

TEMPLATES = st.lists(st.sampled_from([1, 2, 3, END, MASK, MASK, MASK]), min_size=1, max_size=16)


def plain_step(
    scheme: Edit, row: RowState, runs: int, predicted: dict[int, tuple[int, float]]
) -> tuple[dict[int, int], bool]:
    """What a step writes, position -> token, and whether its block ends, position by position.

    Args:
        scheme: Its options.
        row: The row; its block is all that is predicted.
        runs: Runs before this one that found all of the block decided.
        predicted: Token and probability of all that was not given.
    """
    open_ = [position for position in predicted if row.masked[position]]
    sure = [position for position in open_ if predicted[position][1] > scheme.threshold]
    if len(sure) < scheme.least:
        sure = sorted(open_, key=lambda position: -predicted[position][1])[: scheme.least]
    written = {position: predicted[position][0] for position in sure}
    edits = 0
    for position, (token, p) in predicted.items():
        other = position not in open_ and token != row.ids[position]
        if other and p > scheme.edit_threshold:
            written[position], edits = token, edits + 1
    left = len(open_) - len(sure)
    runs += not open_
    ends = not left and ((not open_ and not edits) or runs >= scheme.checks)
    return written, ends


def random_row(rng: np.random.Generator) -> RowState:
    """Three blocks of four behind a prompt of two; some of the first is decided, some given."""
    ids = np.full(14, MASK)
    ids[:2] = 4
    ids[2 + np.flatnonzero(rng.random(12) < 0.15)] = 5
    ids[3] = MASK
    row = RowState.fill(ids, 2, MASK)
    here = np.flatnonzero(row.masked[:6] & (rng.random(6) < (1 if rng.random() < 0.3 else 0.5)))
    tokens = rng.integers(0, 3, len(here))
    confidence = np.full(len(here), 0.5, dtype=np.float32)
    return row.advance(here, tokens, confidence, np.zeros(0, dtype=np.int64), final=row.final)


def test_it_writes_what_a_plain_reference_writes_in_a_thousand_states() -> None:
    rng = np.random.default_rng(7)
    edited = ended = went_on = 0
    for _ in range(1000):
        scheme = Edit(
            float(rng.uniform(0.3, 1)),
            float(rng.uniform(0, 1)),
            int(rng.integers(1, 4)),
            int(rng.integers(0, 3)),
            window=Blocks(4),
        )
        row = random_row(rng)
        (ask,) = scheme.ask(row)
        count = len(ask.predict)
        none = np.zeros((0, 14), dtype=np.float32)
        p = rng.uniform(0.05, 1, count).astype(np.float32)
        answer = Answer(ask, rng.integers(0, 3, count), p, none)
        predicted = {
            int(position): (int(token), float(share))
            for position, token, share in zip(ask.note, answer.tokens, p, strict=True)
        }
        assert set(predicted) == {
            at for at in range(2, 6) if row.masked[at] or row.commit_step[at] >= 0
        }
        written, ends = plain_step(scheme, row, 0, predicted)
        after = rails.apply(row, scheme.decide(row, [answer]), [answer])
        expected = row.ids.copy()
        expected[list(written)] = list(written.values())
        np.testing.assert_array_equal(after.ids, expected)
        assert (after.final > row.final) == ends
        edited += any(not row.masked[position] for position in written)
        ended += ends
        went_on += not ends and not after.masked[2:6].any()
    assert min(edited, ended, went_on) > 100


@given(
    template=TEMPLATES,
    threshold=st.floats(0, 1),
    edit_threshold=st.floats(0, 1),
    least=st.integers(1, 4),
    checks=st.integers(0, 5),
    how=st.sampled_from([("full", 0), ("full", 1), ("blocks", 0)]),
    window=st.sampled_from([Blocks(4), Blocks(32), Single()]),
    end=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40)
def test_every_row_ends_in_time_and_keeps_what_is_given_and_what_is_final(
    template: list[int],
    threshold: float,
    edit_threshold: float,
    least: int,
    checks: int,
    how: tuple[str, int],
    window: Window,
    end: bool,
    seed: int,
) -> None:
    ids = np.array([5, 6, *template, MASK])
    attention, shift = how
    row = RowState.fill(ids, 2, MASK, (END,) if end else (), shift=shift)
    scheme = Edit(threshold, edit_threshold, least, checks, attention, window)
    before = row
    for (after,) in states(batch_of(FakeEngine(MANIFEST, HashModel(32, seed)), [row], scheme)):
        np.testing.assert_array_equal(after.ids[ids != MASK], ids[ids != MASK])
        assert before.final <= after.final
        np.testing.assert_array_equal(after.ids[: before.final], before.ids[: before.final])
        assert after.step <= scheme.bound(row)
        before = after
    assert before.finished
    assert end or MASK not in before.ids


def test_blocks_that_see_nothing_behind_them_are_fed_alone_and_count_from_the_prompt_on() -> None:
    """Blocks of four: the prompt of six fills one and a half."""
    (row,) = begin([[1, 2, 3, 4, 5, 6]], 6)
    (ask,) = Edit(attention="blocks", window=Blocks(4)).ask(row)
    assert ask.positions.tolist() == list(range(8))
    assert ask.predict.tolist() == [6, 7]
    assert ask.sees is not None
    assert ask.sees.sum(axis=1).tolist() == [4] * 4 + [8] * 4
    assert ask.sees[0].tolist() == [True] * 4 + [False] * 4
    (whole,) = Edit(window=Blocks(4)).ask(row)
    assert (len(whole.positions), whole.sees) == (12, None)
    assert whole.predict.tolist() == [6, 7, 8, 9]


class Second:
    """A model that wants token 7 everywhere, and 9 at position 2 once it sees a 7 there."""

    def __call__(self, tokens: Any, positions: Any, *seen: Any) -> tuple[np.ndarray, np.ndarray]:
        logits = np.zeros((len(tokens), 32), dtype=np.float32)
        logits[:, 7] = 20
        logits[(positions == 2) & (tokens != MASK), 9] = 40
        return logits, np.full((len(tokens), len(seen[0])), 1 / len(seen[0]), dtype=np.float32)


def test_a_token_is_written_over_and_a_run_confirms_it() -> None:
    (row,) = begin([[1, 2]], 3)
    rows = [after for (after,) in states(batch_of(FakeEngine(MANIFEST, Second()), [row], Edit()))]
    assert [after.ids[2:].tolist() for after in rows] == [[7, 7, 7], [9, 7, 7], [9, 7, 7]]
    assert [after.final for after in rows] == [2, 2, 5]
    assert rows[-1].commit_step.tolist() == [-1, -1, 1, 0, 0]
    unchecked = Edit(checks=0)
    (once,) = (it for (it,) in states(batch_of(FakeEngine(MANIFEST, Second()), [row], unchecked)))
    assert once.ids[2:].tolist() == [7, 7, 7]


def test_what_it_cannot_do_is_refused_in_one_line(fake_decoder: Decoder) -> None:
    given_: dict[str, Any] = {"input_ids": [1], "max_new_tokens": 4, "policy": "edit"}
    with pytest.raises(OptionError, match="scheme 'edit' has no cache; leave it at 'none'"):
        fake_decoder.generate(**given_, cache="dual")
    with pytest.raises(OptionError, match="scheme 'edit' decides block by block; use window"):
        fake_decoder.generate(**given_, window="pruned")
    with pytest.raises(OptionError, match="attention=blocks would predict the first token of a bl"):
        Edit(attention="blocks").suits(1)
    Edit().suits(1)
