"""Caches that feed what is undecided, or predict candidates alone, beside a plain reference."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import (
    Artifact,
    Blocks,
    Dual,
    OnePerStep,
    OptionError,
    Prefix,
    RowView,
    Single,
    Threshold,
    open_engine,
)
from dawn_runtime.decoding import CACHES, FreeDave, RowState, Sliding, Unmask
from dawn_runtime.decoding.caches.tracked import most_attended
from dawn_runtime.decoding.schemes import Verify
from dawn_runtime.decoding.schemes.block_causal import BlockCausal
from support.caching import Recorder, begin_cached, run_cached, same_decisions
from support.decoding import MASK, batch_of, begin, finished, states
from support.plain_cache import Aging, Middling, Plain, assert_equal, middling

EVERYTHING = list(range(11))


def threshold(confidence: np.ndarray, known: np.ndarray) -> np.ndarray:
    return confidence >= 0.6


RULES: dict[str, Any] = {
    "threshold": (Threshold(0.6), threshold),
    "middling": (Middling(), middling),
}
REFRESHES = st.sampled_from(["block", "never", "drift", 1, 2, 5])
WINDOWS = st.sampled_from([Blocks(3), Blocks(5), Single(), Sliding(4, "fixed"), Sliding(3)])


@st.composite
def templates(draw: st.DrawFn) -> tuple[list[int], int]:
    """A prompt, and an answer with given tokens among its holes."""
    prompt = draw(st.lists(st.integers(0, 28), min_size=1, max_size=6))
    hole = st.one_of(st.just(MASK), st.just(MASK), st.integers(0, 28))
    answer = draw(st.lists(hole, min_size=0, max_size=12))
    return [*prompt, *answer, MASK], len(prompt)


@st.composite
def requests(draw: st.DrawFn) -> tuple[list[int], int, str, Any, Any, bool]:
    """A row, its rule and window, and its cache as options and whether it is `prefix`."""
    ids, start = draw(templates())
    options = {"refresh": draw(REFRESHES), "head": draw(st.sampled_from(["all", "candidates"]))}
    options["track"] = draw(st.sampled_from([0, 0, 1, 3]))
    options["gamma"] = draw(st.sampled_from([0.15, 0.35, 0.55, 0.8]))
    return ids, start, draw(st.sampled_from([*RULES])), draw(WINDOWS), options, draw(st.booleans())


def plain(request: Any, engine: Any, mask: int, shift: int) -> Plain:
    ids, start, rule, window, options, behind = request
    return Plain(
        engine=engine,
        ids=[*ids],
        mask=mask,
        shift=shift,
        window=window,
        state=lambda now: RowState.fill(np.array(now), start, mask, shift=shift),
        behind=behind,
        refresh=options["refresh"],
        all_heads=options["head"] == "all",
        rule=RULES[rule][1],
        reads_known=rule == "middling",
        gamma=options.get("gamma", 0.0),
        track=options.get("track", 0),
    ).decode()


def scheme(request: Any) -> Unmask:
    _, _, rule, window, options, behind = request
    return Unmask(RULES[rule][0], window, (Prefix if behind else Dual)(feed="undecided", **options))


def rows_of(batch: list[Any], engine: Any, mask: int, shift: int, padding: Any) -> list[RowState]:
    rows = [RowState.fill(np.array(one[0]), one[1], mask, shift=shift) for one in batch]
    done = finished(batch_of(engine, rows, [scheme(one) for one in batch], padding))
    return list(done.rows.values())


@pytest.mark.parametrize("shift", [0, 1])
@given(
    batch=st.lists(requests(), min_size=1, max_size=3),
    seed=st.integers(0, 10_000),
    padding=st.sampled_from(["left", "right"]),
)
@settings(max_examples=40)
def test_rows_of_a_batch_are_those_of_the_plain_reference(
    shift: int, batch: list[Any], seed: int, padding: Any
) -> None:
    """On an engine whose keys are as old as the step that computed them."""
    rows = rows_of(batch, Aging(seed), MASK, shift, padding)
    for request, row in zip(batch, rows, strict=True):
        assert_equal(row, plain(request, Aging(seed), MASK, shift))


@pytest.mark.parametrize("family", ["dream", "llada"])
def test_both_families_decode_what_the_plain_reference_decodes(
    family: str, exported: Callable[..., Path]
) -> None:
    artifact = Artifact.open(exported(family))
    manifest, rng = artifact.manifest, np.random.default_rng(3)
    mask, shift = manifest.tokens.mask, manifest.prediction_shift
    engine = open_engine(artifact, threads=1)
    batch: list[Any] = []
    for window, rule, options, behind in [
        (Blocks(6), "threshold", {"refresh": "block", "head": "all"}, False),
        (Blocks(9), "middling", {"refresh": "never", "head": "candidates"}, False),
        (
            Blocks(6),
            "threshold",
            {"refresh": "drift", "head": "all", "gamma": 0.995, "track": 4},
            False,
        ),
        (Sliding(7, "fixed"), "middling", {"refresh": 5, "head": "all"}, True),
    ]:
        prompt = rng.integers(5, 200, int(rng.integers(3, 20))).tolist()
        batch.append(([*prompt, *[mask] * 20], len(prompt), rule, window, options, behind))
    for request, row in zip(batch, rows_of(batch, engine, mask, shift, "left"), strict=True):
        assert_equal(row, plain(request, engine, mask, shift), 1e-5)
    engine.close()


def test_the_aging_engine_tells_an_old_key_from_a_new_one() -> None:
    """So the tests above would notice a key of another step."""
    done = [
        run_cached([[1, 2, 3]], 20, Threshold(0.6), cache, engine=Aging(5)).row(0)
        for cache in (Dual(), Dual(feed="undecided"), Dual("never", feed="undecided"))
    ]
    assert not same_decisions(done[0], done[1])
    assert not same_decisions(done[1], done[2])


# What is fed and predicted


def fed_positions(cache: Dual | Prefix, shift: int) -> list[list[int]]:
    """Three tokens given, two blocks of four, one token decided in a step."""
    engine = Recorder(2)
    run_cached([[1, 2, 3]], 8, OnePerStep(), cache, Blocks(4), engine=engine, shift=shift)
    return engine.fed()


@pytest.mark.parametrize("shift", [0, 1])
def test_a_decided_token_is_fed_once_more_and_then_kept(shift: int) -> None:
    engine = Recorder(2)
    batch = begin_cached(
        [[1, 2, 3]],
        8,
        OnePerStep(),
        Dual(feed="undecided"),
        Blocks(4),
        engine=engine,
        shift=shift,
    )
    before: Any = None
    for number, (row,) in enumerate(states(batch)):
        if number % 4:
            open_ = np.flatnonzero(before.masked[: 7 if number < 4 else 11])
            expected = {*open_, *(open_ - shift), *np.flatnonzero(before.commit_step == number - 1)}
            assert set(engine.fed()[-1]) == expected
        else:
            assert engine.fed()[-1] == EVERYTHING
        before = row


def test_without_the_options_nothing_is_fed_that_was_not() -> None:
    assert Dual() == Dual(feed="all", head="all")
    first, second = [3, 4, 5, 6], [7, 8, 9, 10]
    assert fed_positions(Dual(), 0) == [EVERYTHING, *[first] * 3, EVERYTHING, *[second] * 3]


def test_prefix_feeds_what_is_undecided_behind_the_window_too() -> None:
    fed = fed_positions(Prefix(feed="undecided"), 1)
    assert set(fed[1]) > {7, 8, 9, 10}
    assert len(fed[3]) < len(fed[1])


def test_a_head_on_candidates_alone_predicts_nothing_known() -> None:
    heads = {}
    for head in ("all", "candidates"):
        engine = Recorder(2)
        cache = Dual(head=head)
        run_cached([[1, 2, 3]], 8, Middling(), cache, Blocks(4), engine=engine)
        heads[head] = [
            [int(inputs.input_ids[0, row]) == MASK for row in inputs.logit_rows[0]]
            for inputs in engine.seen
            if inputs.past
        ]
    assert all(all(masks) for masks in heads["candidates"])
    assert not all(all(masks) for masks in heads["all"])


def test_a_full_pass_predicts_all_that_the_rule_reads() -> None:
    engine = Recorder()
    cache = Dual(head="candidates")
    begin_cached([[1, 2, 3]], 8, Middling(), cache, Blocks(4), engine=engine).step()
    assert engine.seen[0].logit_rows[0].tolist() == list(range(7))


@pytest.mark.parametrize("shift", [0, 1])
def test_the_keys_that_draw_most_are_computed_anew_in_every_step(shift: int) -> None:
    scheme = Unmask(OnePerStep(), Blocks(4), Dual(track=2))
    batch = batch_of(Aging(3), begin([[*range(9)]], 8, shift=shift), scheme)
    passes = 0
    while batch.active:
        row = batch.row(0)
        (ask,) = scheme.ask(row)
        if ask.kept.size:
            begins, _ = Blocks(4).span(row)
            fed, stored = ask.positions.tolist(), ask.positions[ask.store].tolist()
            assert stored == [p for p in fed if p < begins - shift]
            assert len(stored) == 2
            assert ask.evidence.tolist() == [fed.index(p) for p in fed if row.masked[p]]
            passes += 1
        batch.step()
    assert passes == 6


def test_most_attended_is_by_the_sum_over_candidates() -> None:
    masked = np.array([False, False, False, True, True])
    view = RowView(
        candidates=np.array([3, 4]),
        masked=masked,
        window=(3, 5),
        tokens=np.zeros(5, dtype=np.int64),
        confidence=np.zeros(5, dtype=np.float32),
        attention=np.array([[0.5, 0, 0.5], [0, 1, 0], [0, 1, 0]], dtype=np.float32),
        attention_rows=np.array([0, 4, 3]),
        attention_keys=np.array([2, 1, 0]),
        step=0,
        predicted=np.array([3, 4]),
    )
    assert most_attended(view, ~masked, 2).tolist() == [1, 0], "position 0 is no candidate"
    assert most_attended(view, np.array([True, False, True, False, False]), 3).tolist() == [0, 2]


# Who cannot follow


@pytest.mark.parametrize("option", [{"feed": "undecided"}, {"head": "candidates"}, {"track": 1}])
@pytest.mark.parametrize("scheme_class", [FreeDave, Verify])
def test_schemes_that_draft_refuse_them(scheme_class: Any, option: dict[str, str]) -> None:
    (name,) = option
    with pytest.raises(
        OptionError, match=f"drafts feed and predict a block and no more; leave {name}"
    ):
        scheme_class(cache=Dual(**option))


@pytest.mark.parametrize("text", ["dual:feed=undecided", "dual:refresh=8", "dual:lead=needed"])
def test_block_models_refuse_options_of_a_cache(text: str) -> None:
    with pytest.raises(OptionError, match="leave the options of cache 'dual' out, got Dual"):
        BlockCausal(Threshold(), Blocks(4), CACHES.parse(text))


@pytest.mark.parametrize("text", ["dual:feed=some", "prefix:head=none", "trailing:feed=undecided"])
def test_an_unknown_value_is_named(text: str) -> None:
    with pytest.raises(OptionError, match=r"feed|head"):
        CACHES.parse(text)
