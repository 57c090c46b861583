"""Whatever a scheme decides, a row keeps what it promises, and decoding ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import DawnError
from dawn_runtime.decoding import Answer, Ask, Decision, RowState, Scheme, rails
from dawn_runtime.engine.fake import FakeEngine
from support.decoding import END, MANIFEST, MASK, batch_of, begin, finished

LENGTH, START = 10, 3
POSITIONS = st.integers(-2 * LENGTH, 2 * LENGTH)
TOKENS = st.sampled_from([1, 2, 3, END, MASK])


def numbers(values: Sequence[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@st.composite
def decisions(draw: st.DrawFn) -> Decision:
    """Anything that has the right types."""
    commit = draw(st.lists(POSITIONS, max_size=8))
    return Decision(
        commit=numbers(commit),
        tokens=numbers([draw(TOKENS) for _ in commit]),
        confidence=np.full(len(commit), 0.5, dtype=np.float32),
        revoke=numbers(draw(st.lists(POSITIONS, max_size=8))),
        final=draw(st.none() | POSITIONS),
        keep=(0,) if draw(st.booleans()) else (),
        layout=draw(st.none() | st.permutations(range(LENGTH)).map(lambda p: numbers(p[:4]))),
        memory=draw(st.none() | st.just("note")),
    )


def row_with_holes() -> RowState:
    """Three tokens of a prompt; position 6 is given too."""
    ids = np.full(LENGTH, MASK)
    ids[[0, 1, 2, 6]] = [4, 5, 6, 7]
    return RowState.fill(ids, START, MASK, (END,))


def answer_to(row: RowState) -> Answer:
    nothing = numbers([])
    ask = Ask(row.ids, np.arange(LENGTH), store=numbers([0, 1, 2]))
    empty = np.zeros(0, np.float32)
    return Answer(ask, nothing, empty, np.zeros((0, LENGTH), np.float32))


@given(st.lists(decisions(), min_size=1, max_size=6))
@settings(max_examples=150)
def test_a_row_keeps_its_promises_whatever_is_decided(decided: list[Decision]) -> None:
    row = row_with_holes()
    given_ = ~row.masked
    for decision in decided:
        if row.finished:
            break
        after = rails.apply(row, decision, [answer_to(row)])
        check(row, after, decision, given_)
        row = after


def check(row: RowState, after: RowState, decision: Decision, given_: np.ndarray) -> None:
    """What holds after any step."""
    np.testing.assert_array_equal(after.ids[given_], row_with_holes().ids[given_])
    np.testing.assert_array_equal(after.masked, after.ids == MASK)
    np.testing.assert_array_equal(after.commit_step >= 0, ~after.masked & ~given_)
    np.testing.assert_array_equal(np.isnan(after.commit_confidence), after.commit_step < 0)
    assert (after.step, after.fed) == (row.step + 1, row.fed + LENGTH)
    assert row.final <= after.final <= after.settled
    np.testing.assert_array_equal(after.ids[: row.final], row.ids[: row.final])
    if decision.final is None:
        assert after.final == after.settled
    changed = np.flatnonzero(after.ids != row.ids)
    assert set(changed.tolist()) <= {*decision.commit.tolist(), *decision.revoke.tolist()}
    for position in changed[~after.masked[changed]].tolist():
        assert row.masked[position] or position in decision.revoke, "never without taking it back"
        pairs = zip(decision.commit.tolist(), decision.tokens.tolist(), strict=True)
        real = [token for place, token in pairs if place == position and token != MASK]
        assert after.ids[position] == real[0], "the first of several"
    if after.finished:
        assert after.kept is None
        assert after.memory is None
    elif after.kept is not None:
        assert len(np.unique(after.kept.positions)) == len(after.kept.positions)
        has_key = np.flatnonzero(after.kept.ids >= 0)
        assert set(has_key.tolist()) <= set(after.kept.positions.tolist())
    for array in (after.ids, after.masked, after.commit_step, after.commit_confidence):
        assert not array.flags.writeable


def decision(**parts: Any) -> Decision:
    commit = numbers(parts.pop("commit", []))
    tokens = numbers(parts.pop("tokens", [1] * len(commit)))
    confidence = np.full(len(commit), 0.5, dtype=np.float32)
    if "revoke" in parts:
        parts["revoke"] = numbers(parts["revoke"])
    return Decision(commit, tokens, confidence, **parts)


def test_what_is_not_allowed_is_left_out_and_the_rest_stands() -> None:
    row = row_with_holes()
    commit, tokens = [0, 6, 3, 3, -7, 99, 4, 5], [9, 9, 8, 7, 9, 9, MASK, 2]
    after = rails.apply(row, decision(commit=commit, tokens=tokens, final=0), [answer_to(row)])
    assert after.ids.tolist() == [4, 5, 6, 8, MASK, 2, 7, MASK, MASK, MASK]
    again = rails.apply(after, decision(revoke=[0, 5, 6, 7, -1, 99], final=0), [answer_to(row)])
    assert again.ids.tolist() == [4, 5, 6, 8, MASK, MASK, 7, MASK, MASK, MASK]


def test_what_is_taken_back_may_be_decided_anew_in_the_same_step_and_nothing_else_may() -> None:
    """Position 0 and 6 are given, 3 is final, 4 is written over, 5 taken back."""
    row = row_with_holes()
    after = rails.apply(row, decision(commit=[3, 4, 5], final=4), [answer_to(row)])
    parts = {"commit": [0, 3, 4, 6, 8], "tokens": [9] * 5, "revoke": [0, 3, 4, 5, 6], "final": 4}
    again = rails.apply(after, decision(**parts), [answer_to(row)])
    assert again.ids.tolist() == [4, 5, 6, 1, 9, MASK, 7, MASK, 9, MASK]
    assert again.commit_step.tolist() == [-1, -1, -1, 0, 1, -1, -1, -1, 1, -1]


def test_what_is_final_is_not_taken_back() -> None:
    row = row_with_holes()
    after = rails.apply(row, decision(commit=[3, 4], final=4), [answer_to(row)])
    assert (after.final, after.settled) == (4, 5)
    again = rails.apply(after, decision(revoke=[3, 4], final=0), [answer_to(row)])
    assert again.masked[[3, 4]].tolist() == [False, True]
    assert again.final == 4, "it never falls"


def test_an_end_token_that_may_still_change_ends_nothing() -> None:
    row = row_with_holes()
    after = rails.apply(row, decision(commit=[3], tokens=[END], final=3), [answer_to(row)])
    assert (after.end, after.finished, after.answer.tolist()) == (None, False, [])
    later = rails.apply(after, decision(final=None), [answer_to(row)])
    assert (later.end, later.finished) == (3, True)


@dataclass(frozen=True, slots=True)
class Idle(Scheme):
    """Takes its tokens back for ever."""

    name: ClassVar[str] = "idle"

    promised: int = 7

    def ask(self, row: RowState) -> tuple[Ask, ...]:
        return (Ask(row.ids, np.arange(row.length), predict=np.flatnonzero(row.masked)),)

    def decide(self, row: RowState, answers: Sequence[Answer]) -> Decision:
        decided = np.flatnonzero(row.commit_step >= 0)
        if decided.size:
            return decision(revoke=decided.tolist(), final=0)
        return decision(commit=np.flatnonzero(row.masked)[:1].tolist(), final=0)

    def bound(self, row: RowState) -> int:
        return self.promised


def test_a_scheme_that_never_ends_is_stopped_by_its_bound() -> None:
    batch = batch_of(FakeEngine(MANIFEST), begin([[1, 2]], 4), Idle())
    expected = "scheme 'idle' is unfinished after 7 steps, where it promised to need at most 7"
    with pytest.raises(DawnError, match=expected):
        finished(batch)
    assert batch.forwards <= 7


def test_the_bound_counts_from_where_a_row_joined() -> None:
    (row,) = begin([[1, 2]], 4)
    for _ in range(5):
        row = rails.apply(row, decision(), [Answer(Ask(row.ids, row.ids), *[numbers([])] * 3)])
    batch = batch_of(FakeEngine(MANIFEST), [row], Idle())
    with pytest.raises(DawnError, match="unfinished after 12 steps"):
        finished(batch)
