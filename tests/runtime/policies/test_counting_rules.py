"""Rules that count: one in each of the orders, and the schedules of LLaDA and Dream."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dawn_runtime import (
    Blocks,
    Dream,
    Llada,
    NoCache,
    OnePerStep,
    OptionError,
    Policy,
    RowView,
    Single,
    Unmask,
)
from dawn_runtime.decoding import RowState, Window
from dawn_runtime.engine.fake import FakeEngine
from dawn_runtime.policies import Budget, Needs
from dawn_runtime.policies.dream import times, with_time
from dawn_runtime.policies.llada import evenly, rounded
from dawn_runtime.policies.order import draws, share
from support.decoding import MANIFEST, batch_of, begin, states
from support.golden import GOLDEN

MakeView = Callable[..., RowView]


def measured_view(rng: np.random.Generator, random_view: MakeView, **changes: Any) -> RowView:
    """A random row with entropies and margins of which some are equal."""
    view = random_view(rng, **changes)
    length = len(view.masked)
    entropy = (rng.integers(0, 9, length) / 4).astype(np.float32)
    margin = (rng.integers(0, 9, length) / 2).astype(np.float32)
    return replace(view, entropy=entropy, margin=margin)


def slow_scores(view: RowView, order: str) -> dict[int, float]:
    """By position: the greater, the earlier."""
    assert view.entropy is not None
    assert view.margin is not None
    found = {}
    for i in view.candidates.tolist():
        p, h, margin = (float(a[i]) for a in (view.confidence, view.entropy, view.margin))
        second = p * math.exp(-margin)
        found[i] = {"confidence": p, "entropy": -h, "margin": round(p - second, 5)}[order]
    return found


def slow_first(scores: dict[int, float], count: int) -> list[int]:
    return sorted(sorted(scores, key=lambda i: (-scores[i], i))[:count])


@pytest.mark.parametrize("order", ["confidence", "margin", "entropy"])
def test_each_order_equals_a_slow_one_on_1000_random_states(
    order: str, random_view: MakeView
) -> None:
    rng, counts = np.random.default_rng(9), set()
    alg = {"confidence": "maskgit_plus", "margin": "topk_margin", "entropy": "entropy"}[order]
    for _ in range(1000):
        view = measured_view(rng, random_view)
        scores, waiting = slow_scores(view, order), len(view.candidates)
        assert OnePerStep(order).select(view).tolist() == slow_first(scores, 1)
        view = replace(view, window_decided=int(rng.integers(0, 4)))
        view = replace(view, decided=view.window_decided)
        steps, here = int(rng.integers(1, 12)), waiting + view.window_decided
        every = view.decided + int(view.masked.sum())
        count = slow_due(slow_dream(here, max(1, steps * here // every)), view.window_decided)
        found = sorted(Dream(alg, steps).select(view).tolist())
        assert found == slow_first(scores, count)
        if order == "confidence":
            even = slow_due(slow_llada(here, max(1, steps * here // every)), view.window_decided)
            assert sorted(Llada(steps).select(view).tolist()) == slow_first(scores, even)
        counts.add(count)
    assert len(counts) > 5


def slow_llada(positions: int, steps: int) -> list[int]:
    """Tokens of each step."""
    return [positions // steps + (step < positions % steps) for step in range(steps)]


def slow_dream(positions: int, steps: int) -> list[int]:
    found, left = [], positions
    moments = [np.float32(t) for t in np.linspace(1, 1e-3, steps + 1)]
    for step in range(steps):
        part = np.float32(1) - moments[step + 1] / moments[step]
        count = left if step == steps - 1 else int(np.float32(left) * part)
        found.append(count)
        left -= count
    return found


def slow_due(counts: list[int], decided: int) -> int:
    """Up to the first sum that exceeds what is decided."""
    total = 0
    for count in counts:
        total += count
        if total > decided:
            return total - decided
    raise AssertionError("all is decided")


def test_margin_is_the_distance_of_probabilities_not_of_logits(make_view: MakeView) -> None:
    """0.5 and a tenth of it beat 0.6 and nine tenths of it."""
    view = make_view([0, 0.6, 0.5], np.eye(3), [False, True, True], (1, 3))
    margin = np.array([np.nan, -np.log(0.9), -np.log(0.1)], dtype=np.float32)
    view = replace(view, margin=margin)
    assert OnePerStep().select(view).tolist() == [1]
    assert OnePerStep("margin").select(view).tolist() == [2]
    lone = replace(view, margin=np.array([np.nan, np.inf, 9], dtype=np.float32))
    assert OnePerStep("margin").select(lone).tolist() == [1], "no second token at all"


def test_least_entropy_comes_first(make_view: MakeView) -> None:
    view = make_view([0, 0.6, 0.5, 0.4], np.eye(4), [False, True, True, True], (1, 4))
    view = replace(view, entropy=np.array([np.nan, 2, 1, 1], dtype=np.float32))
    assert OnePerStep("entropy").select(view).tolist() == [2]
    assert sorted(Dream("entropy", 1).select(view).tolist()) == [1, 2, 3]


def test_every_order_reads_no_more_than_it_ranks_by() -> None:
    assert OnePerStep().needs == OnePerStep("random").needs == Needs()
    assert OnePerStep("entropy").needs == Dream().needs == Needs(entropy=True)
    assert OnePerStep("margin").needs == Dream("topk_margin").needs == Needs(margin=True)
    assert Dream("maskgit_plus").needs == Dream("origin").needs == Llada().needs == Needs()
    assert Llada(eos=3).needs == Needs(logits=True)
    assert Llada(remasking="random", eos=3).needs == Needs()


def test_random_numbers_are_a_function_of_seed_step_and_position() -> None:
    places = np.arange(40)
    one = draws(1, 2, places)
    np.testing.assert_array_equal(one, draws(1, 2, places))
    np.testing.assert_array_equal(one[7:9], draws(1, 2, np.array([7, 8])))
    others = [draws(2, 2, places), draws(1, 3, places), draws(2**64 - 1, 2, places)]
    assert all((one != other).all() for other in others)
    many = draws(0, 0, np.arange(20_000))
    assert ((many >= 0) & (many < 1)).all()
    assert abs(many.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(many, draws(0, 1, np.arange(20_000)))[0, 1]) < 0.03


def test_random_order_takes_every_candidate_alike(make_view: MakeView) -> None:
    view = make_view([0, 0.9, 0.5, 0.1], np.eye(4), [False, True, True, True], (1, 4))
    counts = np.zeros(4, dtype=int)
    for seed in range(900):
        (position,) = OnePerStep("random", seed).select(view)
        counts[position] += 1
        assert sorted(Llada(1, "random", seed).select(view).tolist()) == [1, 2, 3]
    assert counts[0] == 0
    assert counts[1:].min() > 240
    found = {tuple(Llada(2, "random", seed).select(view).tolist()) for seed in range(40)}
    assert len(found) == 6, "two of three, the greatest number first"


def commits(policy: Policy, new: int, window: Window, *guards: Any) -> list[int]:
    """Tokens that each step decides."""
    scheme = Unmask(policy, window, NoCache(), guards=guards)
    ends = [row for (row,) in states(batch_of(FakeEngine(MANIFEST), begin([[1, 2]], new), scheme))]
    sums = [0, *(row.decided for row in ends)]
    return np.diff(sums).tolist()


def test_an_even_schedule_gives_what_is_left_to_the_first_steps() -> None:
    assert evenly(32, 13).tolist() == np.cumsum([3] * 6 + [2] * 7).tolist()
    assert evenly(3, 5).tolist() == [1, 2, 3, 3, 3]
    assert commits(Llada(3), 8, Single()) == [3, 3, 2]
    assert commits(Llada(4), 16, Blocks(8)) == [4, 4, 4, 4]
    assert commits(Llada(3, "random"), 8, Single()) == [3, 3, 2]


def test_a_rounded_schedule_is_the_published_one() -> None:
    published = json.loads((GOLDEN / "a2d-qwen3-random" / "transfer.json").read_text())
    for key, counts in published.items():
        positions, steps = map(int, key.split(","))
        found = np.diff(rounded(positions, steps), prepend=0)
        assert found[found > 0].tolist() == counts, key


def test_blocks_of_any_length_may_have_the_same_number_of_steps() -> None:
    rule = Llada(schedule="rounded", block_steps=4)
    assert commits(rule, 10, Blocks(8)) == [2, 2, 2, 2, 1, 1]
    assert commits(Llada(block_steps=2), 10, Blocks(8)) == [4, 4, 1, 1]
    assert commits(Llada(2, schedule="rounded"), 5, Single()) == [2, 3]


def test_blocks_share_the_steps_by_their_size_and_get_one_at_least() -> None:
    assert commits(Llada(6), 12, Blocks(8)) == [2, 2, 2, 2, 2, 2]
    assert commits(Llada(1), 12, Blocks(4)) == [4, 4, 4]
    assert commits(Llada(3), 10, Blocks(8)) == [4, 4, 2]


def test_steps_that_decide_nothing_are_not_taken() -> None:
    """More steps than tokens, and the first step of Dream's own setting, decide nothing."""
    assert commits(Llada(100), 5, Single()) == [1] * 5
    assert np.diff(with_time(8, 8, 1e-3), prepend=0).tolist() == [0, 1, 1, 1, 1, 1, 1, 2]
    assert commits(Dream("maskgit_plus", 8), 8, Single()) == [1, 1, 1, 1, 1, 1, 2]
    assert commits(Dream(steps=16), 64, Single()) == [3, *[4] * 14, 5]


def test_what_a_guard_held_up_is_made_up_for() -> None:
    """A budget of nothing lets the beginning through alone: the schedule is behind, then ends."""
    held = commits(Llada(2), 8, Single(), Budget(0))
    assert sum(held) == 8
    assert held[0] == 1
    assert len(held) > 2


def test_a_given_token_in_a_block_is_no_part_of_its_schedule() -> None:
    """Four of six positions are open: two steps of two."""
    mask = MANIFEST.tokens.mask
    row = RowState.fill(np.array([1, mask, 5, mask, mask, 6, mask]), 1, mask)
    scheme = Unmask(Llada(2), Single(), NoCache())
    ends = [row for (row,) in states(batch_of(FakeEngine(MANIFEST), [row], scheme))]
    assert [row.decided for row in ends] == [2, 4]


def test_share_counts_what_the_window_has_and_what_the_row_has(make_view: MakeView) -> None:
    masked = np.arange(12) >= 6
    view = make_view([0.5] * 12, np.eye(12), masked, (4, 8), window_decided=2, decided=4)
    assert share(view, 5) == (4, 2), "4 of 10 positions, so 2 of 5 steps"


def test_times_go_from_one_to_eps_at_equal_distances() -> None:
    for steps in (1, 2, 7, 512):
        found = times(steps, 1e-3)
        assert (found[0], found[-1]) == (1, np.float32(1e-3))
        np.testing.assert_allclose(found, np.linspace(1, 1e-3, steps + 1), rtol=1e-5)
        assert not found.flags.writeable


def test_origin_commits_positions_at_times_that_are_drawn_in_advance(make_view: MakeView) -> None:
    """Of 4 steps each takes a quarter, as coins of 1/4, 1/3, 1/2 and 1 do."""
    length = 4000
    masked = np.arange(length) >= 1
    view = make_view(np.ones(length), np.eye(1), masked, (1, length))
    policy, left, sizes = Dream("origin", 4, seed=3), view.candidates, []
    while left.size:
        decided = length - 1 - len(left)
        now = replace(view, candidates=left, masked=np.isin(np.arange(length), left))
        chosen = policy.select(replace(now, decided=decided, window_decided=decided))
        sizes.append(len(chosen))
        left = np.setdiff1d(left, chosen)
    assert len(sizes) == 4
    assert all(abs(size - 1000) < 100 for size in sizes)
    assert set(Dream("origin", 1).select(view).tolist()) == set(view.candidates.tolist())


def logits_of(rows: list[list[float]]) -> np.ndarray:
    return np.log(np.array(rows, dtype=np.float32))


def test_end_tokens_wait_for_all_others(make_view: MakeView) -> None:
    """Without tokens 0 and 1: position 1 has 0.3 / 0.7, position 2 0.4 / 0.5, position 3 waits."""
    rows = [[0.7, 0.1, 0.1, 0.1], [0.3, 0.0, 0.4, 0.3], [0.5, 0.0, 0.1, 0.4], [0.9, 0.05, 0.05, 0]]
    with np.errstate(divide="ignore"):
        logits = logits_of(rows)
    view = make_view(
        [0.7, 0.4, 0.4, 0.9],
        np.eye(4),
        [False, True, True, True],
        (1, 4),
        tokens=np.array([0, 2, 3, 0]),
        logits=logits,
    )
    assert Llada(3).select(view).tolist() == [3]
    assert Llada(3, eos=0).select(view).tolist() == [2], "0.4 of 0.5 is more than 0.4 of 0.7"
    assert Llada(3, eot=1, eos=0).select(view).tolist() == [2]
    assert Llada(3, eot=3).select(view).tolist() == [3]
    assert Llada(1, eos=0).select(view).tolist() == [2, 1, 3], "the end comes last"
    only = replace(view, candidates=np.array([3]))
    assert Llada(3, eos=0).select(only).tolist() == [3], "when no other is left"


def test_end_tokens_that_are_none_are_refused(make_view: MakeView) -> None:
    view = make_view([0.5, 0.5], np.eye(2), [False, True], (1, 2))
    with pytest.raises(OptionError, match="policy 'llada' reads logits for eos and eot"):
        Llada(eos=3).select(view)
    view = replace(view, logits=np.zeros((2, 4), dtype=np.float32))
    with pytest.raises(OptionError, match="eos or eot is 4; expected ids of the vocabulary, 0 to"):
        Llada(eos=3, eot=4).select(view)


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        (OnePerStep, {"by": "luck"}, "by is 'luck'; use one of confidence, margin, entropy"),
        (OnePerStep, {"seed": -1}, "seed is -1; expected an integer >= 0"),
        (Llada, {"steps": 0}, "steps is 0; expected an integer from 1"),
        (Llada, {"steps": 2**17}, "steps is 131072; expected an integer from 1 to 65536"),
        (Llada, {"remasking": "high"}, "remasking is 'high'; use one of low_confidence, random"),
        (Llada, {"eos": -1}, "eos is -1; expected an integer >= 0"),
        (Dream, {"alg": "llada"}, "alg is 'llada'; use one of maskgit_plus, topk_margin, entropy"),
        (Dream, {"eps": 0}, "eps is 0; expected a number from 1e-06 to 0.5"),
        (Dream, {"steps": 1.5}, "steps is 1.5; expected an integer from 1 to 65536"),
    ],
)
def test_bad_option_is_named(rule: type[Policy], options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        rule(**options)
