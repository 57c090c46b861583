"""The batch decides what the loop before it decided: rules, windows, caches, shifts, sampling.

`support.old_loop` is that loop, the slow reference. A case is one random setting: up to three rows
with rules of their own, side by side in one batch of either.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Blocks, Pruned, Single, Sliding
from dawn_runtime.decoding import CACHES, RowState, Sampling, Unmask, Window
from dawn_runtime.decoding.sampling import GREEDY
from dawn_runtime.engine.fake import FakeEngine, HashModel
from support import old_loop
from support.decoding import END, MASK, OLDER, batch_of, finished
from support.decoding import POLICIES as ALL_POLICIES

TESTS, ROWS_OF_A_TEST = 10, 100
WINDOWS: list[Window] = [
    *(Blocks(5), Blocks(8), Single(), Sliding(5), Sliding(6, "fixed")),
    *(Pruned(5, near=3), Pruned(4, near=0)),
]
CACHE_NAMES = [
    *("none", "prefix", "dual", "prefix:refresh=never", "dual:refresh=never"),
    *("prefix:refresh=3", "dual:refresh=2"),
]
SAMPLINGS = [GREEDY, GREEDY, Sampling(1.0, seed=3), Sampling(0.7, top_p=0.8, top_k=5, seed=9)]


POLICIES = [policy for policy in ALL_POLICIES if not policy.needs.margin]
"""It knew no margins."""


@dataclass(frozen=True)
class Setting:
    """One batch."""

    ids: list[np.ndarray]
    starts: list[int]
    schemes: list[Unmask]
    ends: tuple[int, ...]
    shift: int
    padding: Any
    seed: int


def random_settings(seed: int) -> Iterator[Setting]:
    rng = np.random.default_rng(seed)

    def one(values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    left = ROWS_OF_A_TEST
    while left > 0:
        count = min(int(rng.integers(1, 4)), left)
        left -= count
        ids, starts = zip(*(random_row(rng) for _ in range(count)), strict=True)
        rules = [
            Unmask(one(POLICIES), one(WINDOWS), CACHES.parse(one(CACHE_NAMES)), one(SAMPLINGS))
            for _ in range(count)
        ]
        yield Setting(
            ids=list(ids),
            starts=list(starts),
            schemes=rules,
            ends=(END,) if rng.random() < 0.5 else (),
            shift=int(rng.integers(2)),
            padding=one(["right", "left"]),
            seed=int(rng.integers(1000)),
        )


def random_row(rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """A prompt to continue, or a template with given tokens among its holes."""
    prompt, new = int(rng.integers(1, 8)), int(rng.integers(1, 15))
    ids = np.full(prompt + new, MASK)
    ids[:prompt] = rng.integers(0, 28, prompt)
    if rng.random() < 0.3:
        given = prompt + np.flatnonzero(rng.random(new - 1) < 0.4)
        ids[given] = rng.integers(0, 28, len(given))
    return ids, prompt


def decoded_before(setting: Setting) -> tuple[old_loop.RowState, ...]:
    """Rows of the old loop."""
    rows = tuple(
        old_loop.RowState.fill(ids.copy(), start, MASK, setting.ends)
        for ids, start in zip(setting.ids, setting.starts, strict=True)
    )
    rules = tuple(
        old_loop.Rules(each.policy, each.window, each.cache, each.sampling)
        for each in setting.schemes
    )
    packer = old_loop.Packer(setting.shift, MASK, 0, setting.padding)
    engine = FakeEngine(OLDER, HashModel(32, setting.seed))
    state = old_loop.DecodeState(rows, rules)
    for last in old_loop.decode(engine, packer, state):
        state = last
    return state.rows


def decoded_now(setting: Setting) -> tuple[tuple[RowState, ...], int]:
    """Rows and forwards of the batch."""
    rows = [
        RowState.fill(ids.copy(), start, MASK, setting.ends, shift=setting.shift)
        for ids, start in zip(setting.ids, setting.starts, strict=True)
    ]
    engine = FakeEngine(OLDER, HashModel(32, setting.seed))
    batch = finished(batch_of(engine, rows, [*setting.schemes], setting.padding))
    return tuple(batch.rows.values()), batch.forwards


@pytest.mark.parametrize("seed", range(TESTS))
def test_a_batch_decides_what_the_old_loop_decided(seed: int) -> None:
    seen = 0
    for setting in random_settings(seed):
        old, (new, forwards) = decoded_before(setting), decoded_now(setting)
        steps = max(row.step for row in new)
        # One run for the rows that look at kept keys, and one for those that do not.
        assert steps <= forwards <= min(2, len(new)) * steps
        for left, right in zip(old, new, strict=True):
            np.testing.assert_array_equal(right.ids, left.ids, err_msg=str(setting))
            np.testing.assert_array_equal(right.commit_step, left.commit_step)
            np.testing.assert_array_equal(right.commit_confidence, left.commit_confidence)
            assert (right.step, right.fed) == (left.step, left.fed), setting
            assert (right.end, right.finished) == (left.end, left.finished)
            assert right.trace() == left.trace()
            seen += 1
    assert seen == ROWS_OF_A_TEST


def test_the_settings_hold_everything_there_is() -> None:
    """So that no rule, window, cache or shift is left out by chance."""
    settings = [setting for seed in range(TESTS) for setting in random_settings(seed)]
    schemes = [scheme for setting in settings for scheme in setting.schemes]
    assert {str(scheme.policy) for scheme in schemes} == {str(policy) for policy in POLICIES}
    assert {scheme.window for scheme in schemes} == set(WINDOWS)
    assert {scheme.cache for scheme in schemes} == {CACHES.parse(name) for name in CACHE_NAMES}
    assert {scheme.sampling for scheme in schemes} == set(SAMPLINGS)
    sides = {(s.shift, s.padding, bool(s.ends)) for s in settings}
    assert len(sides) == 8
