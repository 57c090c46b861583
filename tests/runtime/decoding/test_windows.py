"""Windows that slide or leave out what is far behind, alone and with caches."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import (
    Blocks,
    Dual,
    NoCache,
    OnePerStep,
    OptionError,
    Prefix,
    Pruned,
    Single,
    Sliding,
    Threshold,
)
from dawn_runtime.decoding import Cache, RowState, Window
from dawn_runtime.engine.fake import FakeEngine
from support.caching import Recorder, begin_cached, run_cached, same_decisions
from support.decoding import END, MANIFEST, MASK, POLICIES, commit, run, same_row, states

WINDOWS = [
    *(Sliding(5), Sliding(5, "fixed"), Pruned(5, near=3), Pruned(4, near=0)),
    *(Pruned(4, near=3, recent=2, sinks=1), Pruned(3, near=0, recent=4, sinks=0)),
]


def row_with(decided: list[int], given: int = 3, new: int = 12) -> RowState:
    positions = np.array(decided, dtype=np.int64)
    return commit(RowState.begin(np.arange(given), new, MASK), positions, 1, 1)


@pytest.mark.parametrize(
    ("decided", "fixed", "growing"),
    [
        ([], (3, 7), (3, 7)),
        ([3, 4], (5, 9), (5, 9)),
        ([4, 5], (3, 7), (3, 9)),
        ([3, 4, 5, 7, 8], (6, 10), (6, 12)),
        (list(range(3, 14)), (14, 15), (14, 15)),
    ],
    ids=str,
)
def test_a_sliding_window_begins_at_the_first_undecided_position(
    decided: list[int], fixed: tuple[int, int], growing: tuple[int, int]
) -> None:
    row = row_with(decided)
    assert Sliding(4, "fixed").span(row) == fixed
    assert Sliding(4).span(row) == growing


def test_a_pruned_block_sees_the_nearest_masks_and_the_last_position() -> None:
    window = Pruned(4, near=2)
    assert window.span(row_with([])) == (3, 7)
    assert np.flatnonzero(window.visible(row_with([]))).tolist() == [*range(9), 14]
    second = row_with([3, 4, 5, 6])
    assert np.flatnonzero(window.visible(second)).tolist() == [*range(13), 14]
    last = row_with(list(range(3, 11)))
    assert window.visible(last).all()
    assert Pruned(4, near=0).visible(row_with([])).tolist() == [True] * 7 + [False] * 7 + [True]


def test_a_pruned_block_may_leave_out_what_is_far_before_it() -> None:
    window = Pruned(4, near=1, recent=2, sinks=1)
    assert np.flatnonzero(window.visible(row_with([]))).tolist() == [0, 1, 2, *range(3, 8), 14]
    second = row_with([3, 4, 5, 6])
    assert np.flatnonzero(window.visible(second)).tolist() == [0, 5, 6, *range(7, 12), 14]
    assert np.flatnonzero(Pruned(4, near=0, recent=3, sinks=9).visible(second)).size == 12
    assert np.flatnonzero(Pruned(4, near=0, recent=1, sinks=0).visible(second))[0] == 6


def test_given_tokens_far_behind_a_pruned_block_stay_in_sight() -> None:
    row = row_with([])
    masked = row.masked.copy()
    masked[[8, 12]] = False
    seen = Pruned(4, near=2).visible(replace(row, masked=masked))
    assert np.flatnonzero(seen).tolist() == [*range(10), 12, 14]


def test_what_is_out_of_sight_is_neither_fed_nor_looked_at() -> None:
    for cache in (NoCache(), Prefix(), Dual("never")):
        engine = Recorder()
        window = Pruned(4, near=2)
        batch = begin_cached([[1, 2, 3]], 12, OnePerStep(), cache, window, engine=engine)
        for (row,) in [tuple(batch.rows.values()), *states(batch)][:4]:
            assert row.settled < 7
        for inputs in engine.seen[:4]:
            looked_at = inputs.attention_mask[0, 0, 0].sum()
            assert looked_at == 10
            assert set(inputs.position_ids[0].tolist()) <= {*range(9), 14}


@pytest.mark.parametrize("cache", [Prefix(), Dual(), Dual(3)], ids=str)
def test_only_what_is_in_sight_takes_a_slot_whatever_the_length(cache: Cache) -> None:
    window, most = Pruned(4, near=2, recent=3, sinks=2), []
    for new in (24, 60):
        engine = Recorder()
        row = run_cached([[1, 2, 3]], new, OnePerStep(), cache, window, engine=engine).row(0)
        slots = [inputs.past[0].shape[2] for inputs in engine.seen if inputs.past]
        assert len(slots) >= new * 3 // 5
        most.append((max(slots), max(map(len, engine.fed()))))
        assert row.fed <= new * 13
    assert most[0] == most[1]
    assert most[0][0] <= 16, "the 12 in sight, and what has come into it since"


def test_what_comes_into_sight_later_is_fed_once_and_then_kept() -> None:
    engine = Recorder()
    cache, window = Dual("never"), Pruned(4, near=2)
    run_cached([[1, 2, 3]], 24, OnePerStep(), cache, window, engine=engine)
    first, *others = engine.fed()
    assert first == [*range(9), 26]
    for number, fed in enumerate(others, start=1):
        begin = 3 + number // 4 * 4
        block = {*range(begin, begin + 4)}
        beside = set(fed) - block
        if number % 4:
            assert not beside
        elif number < 20:  # what the last step decided, and what is newly in sight behind it
            assert {p for p in beside if p > begin} == {begin + 4, begin + 5}
            assert len({p for p in beside if p < begin}) == 1


@pytest.mark.parametrize(
    ("window", "same"),
    [
        (Pruned(5, near=99), Blocks(5)),
        (Sliding(99), Single()),
        (Sliding(99, "fixed"), Single()),
        (Blocks(20), Single()),
    ],
    ids=str,
)
def test_windows_that_leave_nothing_out_are_equal(window: Window, same: Window) -> None:
    """But for rules to which it matters where a window begins."""
    for policy in POLICIES:
        # The warm-up of klass asks whether windows overlap; schedules count what a window has.
        if policy.name not in ("dream", "klass", "llada"):
            left, right = (run([[1, 2]], 20, policy, each).row(0) for each in (window, same))
            assert same_row(left, right), policy


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("cache", [Prefix(), Dual(), Dual("never"), Dual(4)], ids=str)
@pytest.mark.parametrize("shift", [0, 1])
def test_every_window_decodes_the_same_with_a_cache(
    window: Window, cache: Cache, shift: int
) -> None:
    exact, cached = (
        run_cached([[1, 2, 3]], 22, Threshold(0.6), each, window, shift=shift).row(0)
        for each in (NoCache(), cache)
    )
    assert same_decisions(exact, cached)
    assert cached.fed < exact.fed


def test_a_sliding_window_is_refreshed_when_it_has_left_the_old_one_behind() -> None:
    engine = Recorder()
    window = Sliding(4, "fixed")
    batch = begin_cached([[1, 2]], 12, OnePerStep(), Dual(), window, engine=engine)
    settled = [row.settled for row in (batch.row(0), *(row for (row,) in states(batch)))]
    last = None
    for begin, fed in zip(settled, engine.fed(), strict=False):
        due = last is None or begin >= last
        assert (len(fed) == 14) == due
        last = begin + 4 if due else last


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@given(
    prompts=st.lists(st.lists(st.integers(0, 28), min_size=1, max_size=7), min_size=2, max_size=3),
    data=st.data(),
)
@settings(max_examples=4)
def test_a_row_does_not_depend_on_its_neighbours(
    window: Window, prompts: list[list[int]], data: st.DataObject
) -> None:
    counts = data.draw(st.lists(st.integers(1, 14), min_size=len(prompts), max_size=len(prompts)))
    policy = data.draw(st.sampled_from(POLICIES))
    together = run_cached(prompts, counts, policy, Dual(), window, end=True)
    for key, row in together.rows.items():
        alone = run_cached([prompts[key]], counts[key], policy, Dual(), window, end=True)
        assert same_decisions(row, alone.row(0))


@pytest.mark.parametrize("window", [Blocks(4), Sliding(4, "fixed"), Pruned(4)], ids=str)
def test_an_answer_ends_with_the_block_that_holds_its_end_token(window: Window) -> None:
    """Six of sixteen tokens before the end: the third and fourth block are never decided."""

    def model(tokens: Any, positions: Any, key_tokens: Any, *_: Any) -> Any:
        logits = np.zeros((len(tokens), 32), dtype=np.float32)
        logits[np.arange(len(tokens)), np.where(positions < 8, 7, END)] = 20
        shape = (len(tokens), len(key_tokens))
        return logits, np.full(shape, 1 / shape[1], dtype=np.float32)

    engine = FakeEngine(MANIFEST, model)
    last = run_cached([[1, 2]], 16, Threshold(0.9), Dual(), window, engine=engine, end=True)
    assert last.row(0).answer.tolist() == [7] * 6
    assert last.forwards == 2
    assert last.row(0).masked[10:].all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sliding(0), "window 'sliding': block_length is 0; expected an integer >= 1"),
        (lambda: Sliding(8, "far"), "window 'sliding': reach is 'far'; use one of fixed, growing"),
        (lambda: Pruned(near=-1), "window 'pruned': near is -1; expected an integer >= 0"),
        (lambda: Pruned(1.5), "window 'pruned': block_length is 1.5"),
    ],
)
def test_bad_option_is_named(make: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make()
