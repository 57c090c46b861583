"""Cache strategies: what they feed, when they refresh, and that they decode what `none` decodes."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import (
    Blocks,
    Dual,
    EngineError,
    NoCache,
    OnePerStep,
    OptionError,
    Policy,
    Prefix,
    RowView,
    Single,
    StepInputs,
    StepOutputs,
    Threshold,
)
from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding import Cache, Packer, RowState, Sliding, Trailing, Unmask
from dawn_runtime.decoding.batch import Batch
from dawn_runtime.policies import Needs
from support.caching import Recorder, begin_cached, run_cached, same_decisions
from support.decoding import MASK, POLICIES, begin, commit, finished, states

CACHES = [
    *(Prefix(), Dual(), Prefix("never"), Dual("never"), Prefix(3), Dual(3)),
    *(Dual(feed="undecided"), Prefix("never", feed="undecided"), Dual(3, feed="undecided")),
    *(Trailing(before=2), Trailing(5, before=3), Trailing("never", before=1)),
]
CONFIDENCE_RULES = [policy for policy in POLICIES if policy.needs == Needs()]


def decide(
    cache: Cache, policy: Policy, *, shift: int = 0, seed: int = 0, new: int = 21
) -> RowState:
    prompts = [[1, 2, 3, 4, 5]]
    return run_cached(prompts, new, policy, cache, engine=Recorder(seed), shift=shift).row(0)


# Exactness on the fake engine


@pytest.mark.parametrize("cache", CACHES, ids=str)
@pytest.mark.parametrize("shift", [0, 1])
def test_a_cache_decodes_what_a_full_pass_decodes(cache: Cache, shift: int) -> None:
    for policy in CONFIDENCE_RULES:
        exact, cached = (decide(each, policy, shift=shift) for each in (NoCache(), cache))
        assert same_decisions(exact, cached), policy
        assert cached.fed < exact.fed, policy


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("strategy", [Prefix, Dual])
def test_refresh_at_every_step_is_no_cache_at_all(
    strategy: type[Prefix] | type[Dual], policy: Policy
) -> None:
    exact, cached = (decide(each, policy, shift=1) for each in (NoCache(), strategy(1)))
    assert same_decisions(exact, cached)
    assert cached.fed == exact.fed == exact.step * 26


@pytest.mark.parametrize("break_key", ["hidden", "stale"])
def test_one_wrong_key_changes_what_is_decoded(break_key: str) -> None:
    """So the tests above would notice."""

    class Broken(Recorder):
        def run(self, inputs: StepInputs) -> StepOutputs:
            if inputs.past and break_key == "hidden":
                mask = inputs.attention_mask.copy()
                mask[..., 0] = False
                inputs = replace(inputs, attention_mask=mask)
            elif inputs.past:
                past = inputs.past[0].copy()
                past[..., 0, 0] += 1
                inputs = replace(inputs, past=(past, *inputs.past[1:]))
            return super().run(inputs)

    broken, whole = (
        run_cached([[1, 2, 3, 4, 5]], 21, Threshold(0.6), Dual(), engine=engine).row(0)
        for engine in (Broken(), Recorder())
    )
    assert not same_decisions(broken, whole)


@pytest.mark.parametrize("cache", [Dual(), Prefix(3), Dual("never")], ids=str)
@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.name)
@given(
    prompts=st.lists(st.lists(st.integers(0, 28), min_size=1, max_size=7), min_size=2, max_size=4),
    shift=st.integers(0, 1),
    data=st.data(),
)
@settings(max_examples=3)
def test_a_row_decodes_in_a_batch_what_it_decodes_alone(
    policy: Policy, cache: Cache, prompts: list[list[int]], shift: int, data: st.DataObject
) -> None:
    counts = data.draw(st.lists(st.integers(1, 14), min_size=len(prompts), max_size=len(prompts)))
    rest: Any = (policy, cache, Blocks(5))
    together = run_cached(prompts, counts, *rest, end=True, shift=shift)
    for key, row in together.rows.items():
        expected = run_cached([prompts[key]], counts[key], *rest, end=True, shift=shift).row(0)
        assert same_decisions(row, expected)
        assert row.fed == expected.fed


# What is fed


def fed_positions(cache: Cache, shift: int) -> list[list[int]]:
    """Three tokens given, two blocks of four, one token decided in a step."""
    engine = Recorder()
    run_cached([[1, 2, 3]], 8, OnePerStep(), cache, Blocks(4), engine=engine, shift=shift)
    return engine.fed()


EVERYTHING = list(range(11))


def test_dual_feeds_the_window_and_for_dream_the_row_before() -> None:
    first, second = [3, 4, 5, 6], [7, 8, 9, 10]
    assert fed_positions(Dual(), 0) == [EVERYTHING, *[first] * 3, EVERYTHING, *[second] * 3]
    with_row_before = [EVERYTHING, *[[2, *first]] * 3, EVERYTHING, *[[6, *second]] * 3]
    assert fed_positions(Dual(), 1) == with_row_before


def test_prefix_feeds_all_that_follows_too() -> None:
    first, second = EVERYTHING[3:], EVERYTHING[7:]
    assert fed_positions(Prefix(), 0) == [EVERYTHING, *[first] * 3, EVERYTHING, *[second] * 3]
    assert fed_positions(Prefix(), 1)[1] == EVERYTHING[2:]


def test_trailing_feeds_what_the_window_has_passed_and_so_many_tokens_at_least() -> None:
    """A window of three: positions 4 and 3 are decided, so it passes two, then 7, then 5 and on."""
    rows = [np.array(given_) for given_ in ([3], [5, 4], [6, 7, 8])]
    row = RowState.begin(np.array([1, 2, 3]), 8, MASK)
    window, one, three = Sliding(3, "fixed"), Trailing(before=1), Trailing(before=3)
    expected = [((3, 6), 2, 0), ((4, 7), 3, 1), ((6, 9), 4, 3), ((9, 11), 6, 6)]
    for decided, (span, few, more) in zip([*rows, None], expected, strict=True):
        assert window.span(row) == span
        assert one.recomputed(row, span) == (few, span[1])
        assert three.recomputed(row, span) == (more, span[1])
        if decided is not None:
            row = commit(row, decided, [5] * len(decided), [0.5] * len(decided))


def test_trailing_keeps_anew_all_that_it_feeds_and_dual_what_has_changed() -> None:
    stored = {}
    for cache in (Trailing("never", before=2), Dual("never")):
        engine = Recorder()
        batch = begin_cached([[1, 2, 3]], 8, OnePerStep(), cache, Sliding(4), engine=engine)
        batch.step()
        row = batch.row(0)
        (ask,) = Unmask(OnePerStep(), Sliding(4), cache).ask(row)
        stored[cache.name] = ask.positions[ask.store].tolist()
        assert row.kept is not None
    changed = np.flatnonzero(row.commit_step >= 0).tolist()
    assert stored["dual"] == changed
    first = row.settled - max(2, row.settled - 3)
    assert stored["trailing"] == list(range(first, Sliding(4).span(row)[1]))


def test_without_refresh_a_decided_token_is_fed_once_more() -> None:
    fed = fed_positions(Dual("never"), 0)
    assert fed[:4] == [EVERYTHING, *[[3, 4, 5, 6]] * 3]
    (last_decided,) = set(fed[4]) - {7, 8, 9, 10}
    assert 3 <= last_decided <= 6, "its key was that of the mask"
    assert fed[5:] == [[7, 8, 9, 10]] * 3


def test_refresh_after_a_number_of_commits() -> None:
    fed = fed_positions(Dual(3), 0)
    assert [len(positions) == 11 for positions in fed] == [True, False, False] * 2 + [True, False]


def test_all_given_tokens_kept_and_a_single_window() -> None:
    engine = Recorder()
    run_cached([[1, 2, 3]], 4, OnePerStep(), Dual(), Single(), engine=engine)
    assert engine.fed() == [list(range(7)), *[[3, 4, 5, 6]] * 3]


def test_greedy_decoding_fetches_keys_in_full_passes_only() -> None:
    engine = Recorder()
    run_cached([[1, 2, 3]], 8, OnePerStep(), Dual(), Blocks(4), engine=engine, shift=1)
    assert [inputs.want_present for inputs in engine.seen] == [True, *[False] * 3] * 2
    assert not any(inputs.want_logits for inputs in engine.seen)


def test_rows_due_a_full_pass_do_not_make_the_others_take_one() -> None:
    engine = Recorder()
    scheme = Unmask(OnePerStep(), Blocks(4), Dual())
    first, second = begin([[1, 2, 3], [4]], 8)
    batch = Batch(engine, Packer(0), max_rows=2, max_tokens=22)
    batch.admit(first, scheme)
    batch.step()
    batch.admit(second, scheme)
    finished(batch)
    sizes = [inputs.input_ids.shape for inputs in engine.seen]
    assert sizes[0] == (1, 11), "the first row is one ahead"
    assert sizes[1:7] == [(1, 9), (1, 4), (2, 4), (2, 4), (1, 11), (1, 4)]
    assert batch.forwards == len(engine.seen)
    assert [row.step for row in batch.rows.values()] == [8, 8]


# What a policy sees in a cached step


@dataclass(frozen=True, slots=True)
class Watcher(Policy):
    """Keeps its views; decides the first candidate."""

    name: ClassVar[str] = "watcher"
    needs: ClassVar[Needs] = Needs(known_predictions=True, evidence="all", later_predictions=True)

    views: list[RowView]

    def select(self, view: RowView) -> IntArray:
        self.views.append(view)
        return view.candidates[:1]


@pytest.mark.parametrize("shift", [0, 1])
def test_evidence_of_a_cached_step_is_that_of_its_candidates_over_all_keys(shift: int) -> None:
    views: list[RowView] = []
    run_cached([[1, 2, 3]], 8, Watcher(views), Dual(), Blocks(4), shift=shift)
    full, cached = views[0], views[1]
    assert full.attention_rows.tolist() == full.attention_keys.tolist() == EVERYTHING
    assert cached.attention_rows.tolist() == [4, 5, 6]
    assert sorted(cached.attention_keys.tolist()) == EVERYTHING
    assert cached.attention.shape == (3, 11)
    np.testing.assert_allclose(cached.attention.sum(axis=1), 1, atol=1e-6)
    means = full.attention.mean(axis=0)
    np.testing.assert_allclose(full.key_means(), means, rtol=1e-6)
    np.testing.assert_array_equal(cached.key_means(), full.key_means()[cached.attention_keys])
    assert views[4].last_key_means is None, "the next block begins with a full pass"


@pytest.mark.parametrize("shift", [0, 1])
def test_confidence_of_known_positions_is_the_last_one_computed(shift: int) -> None:
    views: list[RowView] = []
    run_cached([[1, 2, 3]], 8, Watcher(views), Dual(), Blocks(4), shift=shift)
    full, cached, later = views[:3]
    kept = slice(0, 3)
    np.testing.assert_array_equal(cached.confidence[kept], full.confidence[kept])
    assert cached.predicted.tolist() == ([3, 4, 5, 6] if not shift else [3, 4, 5, 6, 7])
    assert cached.confidence[3] != full.confidence[3], "position 3 is fed again"
    np.testing.assert_array_equal(later.confidence[kept], full.confidence[kept])
    assert np.isnan(cached.confidence[8:]).all(), "undecided and not predicted in this step"
    assert full.predicted.tolist() == EVERYTHING


def test_later_predictions_come_where_their_rows_are_fed() -> None:
    views: list[RowView] = []
    run_cached([[1, 2, 3]], 8, Watcher(views), Prefix(), Blocks(4))
    assert views[1].predicted.tolist() == EVERYTHING[3:]


# Rows and faults


def test_a_step_can_be_taken_again_after_a_failure() -> None:
    class Flaky(Recorder):
        def run(self, inputs: StepInputs) -> StepOutputs:
            outputs = super().run(inputs)
            if len(self.seen) in (2, 5):
                raise EngineError("lost power")
            return outputs

    asked: Any = ([[1, 2], [3]], [7, 9], OnePerStep(), Dual(2))
    expected = run_cached(*asked)
    batch = begin_cached(*asked, engine=Flaky())
    batch.step()
    with pytest.raises(EngineError, match="lost power"):
        batch.step()
    for _ in range(2):
        batch.step()
    with pytest.raises(EngineError, match="lost power"):
        batch.step()
    for key, row in finished(batch).rows.items():
        assert same_decisions(row, expected.row(key))


def test_finished_rows_keep_nothing() -> None:
    first, *_, last = states(begin_cached([[1], [2, 3]], [1, 6], OnePerStep(), Dual()))
    assert first[0].kept is None
    assert first[1].kept is not None
    assert last[1].kept is None


def test_a_masked_id_that_is_given_back_never_stays_in_the_cache() -> None:
    """Every kept key belongs to the token that stands there now or is fed again."""
    batch = begin_cached([[1, 2, 3]], 12, Threshold(0.5), Dual("never"), Blocks(4))
    for (row,) in states(batch):
        if row.kept is not None:
            stale = np.flatnonzero(~row.kept.current(row.ids))
            decided_now = np.flatnonzero(row.commit_step == row.step - 1)
            begin = row.settled - (row.settled - 3) % 4
            assert set(stale) <= set(decided_now) | set(range(begin, begin + 4))
            assert (row.kept.ids[row.masked] == MASK).all()


@pytest.mark.parametrize("refresh", [0, -1, 1.5, True, "blocks", None])
def test_refresh_rule_must_be_one_of_three(refresh: object) -> None:
    with pytest.raises(
        OptionError, match="cache 'dual': use block, never, drift or a number of commits"
    ):
        Dual(refresh)  # type: ignore[arg-type]
