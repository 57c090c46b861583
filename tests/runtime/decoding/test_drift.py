"""Refresh by drift: what is compared, and that a full pass follows where it has moved."""

from typing import Any

import numpy as np
import pytest

from dawn_runtime import Blocks, Dual, OnePerStep, OptionError, Prefix, RowView, Single, Threshold
from dawn_runtime.decoding import CACHES, Cache, Sliding, Trailing, Unmask
from dawn_runtime.decoding.caches.drift import Drift, cosine
from support.caching import run_cached, same_decisions
from support.decoding import batch_of, begin, states
from support.plain_cache import Aging

LENGTH = 6


def seen(open_: list[int], keys: list[int], attention: Any) -> RowView:
    """A step of a row of six: what its open positions pay to some keys."""
    masked = np.zeros(LENGTH, dtype=bool)
    masked[open_] = True
    where = np.array(open_)
    return RowView(
        candidates=where,
        masked=masked,
        window=(0, LENGTH),
        tokens=np.zeros(LENGTH, dtype=np.int64),
        confidence=np.zeros(LENGTH, dtype=np.float32),
        attention=np.array(attention, dtype=np.float32),
        attention_rows=where,
        attention_keys=np.array(keys),
        step=0,
        predicted=where,
    )


FULL = seen([3, 4], [0, 1, 2, 3, 4, 5], [[0.5, 0.1, 0.1, 0.1, 0.1, 0.1], [0, 0, 1, 0, 0, 0]])


def after(open_: list[int], kept: list[int], fed: list[int], attention: Any) -> Drift:
    return Drift.begin(FULL).after(seen(open_, [*kept, *fed], attention), np.array(kept))


def test_the_same_attention_is_no_drift_and_another_is() -> None:
    rest = [0.1, 0.1, 0.1]
    still = after([3, 4], [0, 1, 2], [3, 4, 5], [[0.5, 0.1, 0.1, *rest], [0, 0, 1, 0, 0, 0]])
    assert still.similarity == pytest.approx(1)
    moved = after([3, 4], [0, 1, 2], [3, 4, 5], [[0, 0, 0.6, *rest], [0, 0, 0.5, 0, 0, 0.5]])
    assert moved.similarity == pytest.approx(1.1 / np.sqrt(0.5**2 + 0.1**2 + 1.1**2))


def test_a_position_that_was_decided_is_not_missed() -> None:
    """Position 4 alone paid to key 2."""
    left = after([3], [0, 1, 2], [3, 4, 5], [[0.5, 0.1, 0.1, 0.1, 0.1, 0.1]])
    assert left.similarity == pytest.approx(1)
    assert left.positions.tolist() == [3]


def test_a_key_of_another_token_does_not_count() -> None:
    """Position 4 was open in the full pass and draws attention now that it says something."""
    left = after([3], [0, 1, 2, 4], [3, 5], [[0.25, 0.05, 0.05, 0.55, 0.05, 0.05]])
    assert left.similarity == pytest.approx(1)


def test_a_position_that_comes_into_the_window_is_compared_from_then_on() -> None:
    kept, fed = [0, 1, 2], [3, 5, 4]
    first = after([3, 5], kept, fed, [[0.5, 0.1, 0.1, 0.1, 0.1, 0.1], [1, 0, 0, 0, 0, 0]])
    assert first.similarity == pytest.approx(1)
    view = seen([5], [*kept, *fed], [[0, 1, 0, 0, 0, 0]])
    assert first.after(view, np.array(kept)).similarity == 0


def test_nothing_to_compare_is_no_drift() -> None:
    nothing = np.zeros(3, dtype=np.float32)
    assert cosine(nothing, nothing + 1) == 1
    assert cosine(nothing[:0], nothing[:0]) == 1


@pytest.mark.parametrize("window", [Blocks(4), Single(), Sliding(4)], ids=str)
@pytest.mark.parametrize("cache", ["prefix:", "dual:feed=undecided,", "trailing:before=2,"])
def test_a_full_pass_follows_where_it_has_moved_and_nowhere_else(cache: str, window: Any) -> None:
    gamma, passes = 0.6, []
    scheme = Unmask(OnePerStep(), window, CACHES.parse(f"{cache}refresh=drift,gamma={gamma}"))
    for (row,) in states(batch_of(Aging(4), begin([[*range(9)]], 16), scheme)):
        if not row.finished:
            passes.append(scheme.plan(row).layout is not None)
            assert passes[-1] == (row.memory.full.seen.drift.similarity < gamma)
    assert {True, False} == set(passes)


def test_the_least_cosine_decides_how_often() -> None:
    def fed(cache: Cache) -> int:
        return run_cached([[*range(9)]], 16, OnePerStep(), cache, engine=Aging(2)).row(0).fed

    never, rarely, often = (fed(Dual("drift", gamma=gamma)) for gamma in (0.0, 0.3, 0.7))
    assert never < rarely < often < fed(Dual(1))
    assert never == fed(Dual("never"))


def test_it_asks_for_the_attention_of_candidates_whatever_the_rule_reads() -> None:
    (row,) = begin([[1, 2, 3]], 8)
    for cache in (Dual("drift"), Prefix()):
        (ask,) = Unmask(Threshold(), Blocks(4), cache).ask(row)
        assert ask.evidence.tolist() == ([3, 4, 5, 6] if cache.refresh == "drift" else [])


def test_rows_do_not_depend_on_their_neighbours() -> None:
    prompts, counts = [[1, 2, 3], [4, 5, 6, 7, 8]], [14, 9]
    cache = Dual("drift", gamma=0.4, feed="undecided")
    for side in ("left", "right"):
        together = run_cached(prompts, counts, OnePerStep(), cache, engine=Aging(), padding=side)  # type: ignore[arg-type]
        for key, row in together.rows.items():
            one = ([prompts[key]], counts[key], OnePerStep(), cache)
            alone = run_cached(*one, engine=Aging()).row(0)
            assert same_decisions(row, alone)
            assert row.fed == alone.fed


def test_it_is_given_by_name_and_moves_no_other_option() -> None:
    assert Prefix("never", "needed") == Prefix(refresh="never", lead="needed")
    assert Trailing(4, 3) == Trailing(refresh=4, before=3)


def test_gamma_is_a_cosine() -> None:
    with pytest.raises(OptionError, match=r"gamma is 1.5; expected a number from 0 to 1"):
        Trailing("drift", gamma=1.5)
