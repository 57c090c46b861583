"""The cache `d2`: what it chooses by hand, and what it decodes beside a plain reference."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import Artifact, Blocks, OnePerStep, OptionError, RowView, Single, open_engine
from dawn_runtime.decoding import CACHES, D2, FreeDave, Pruned, RowState, Sliding, Unmask
from dawn_runtime.decoding.caches.certain import (
    certainty_density,
    importance,
    most_certain,
    nucleus,
    without_gaps,
)
from dawn_runtime.decoding.schemes import Verify
from dawn_runtime.decoding.schemes.block_causal import BlockCausal
from dawn_runtime.policies import Needs
from dawn_runtime.policies.guards import Budget
from support import plain_d2
from support.caching import Recorder, run_cached
from support.decoding import MASK, batch_of, begin, finished, states
from support.plain_cache import Aging, Middling, assert_equal, middling
from support.plain_d2 import PlainD2

OPEN = np.array([False, False, True, False, True, True, True, True])

# The pieces, by hand


def test_density_is_the_weighted_share_of_what_is_known() -> None:
    """At sigma 0.25 nothing but the neighbours counts, each exp(-8) beside the position's own 1."""
    side = np.exp(-8.0)
    found = certainty_density(OPEN, np.array([0, 2, 4, 7]), 0.25)
    expected = [1, 2 * side, side, 0]
    whole = 1 + 2 * side
    assert found * whole == pytest.approx([whole, *expected[1:]])


def test_behind_the_row_all_is_known_if_its_last_position_is() -> None:
    last = certainty_density(np.array([True, False]), np.array([0, 1]), 0.25)
    first = certainty_density(np.array([False, True]), np.array([0, 1]), 0.25)
    assert last[1] > 0.999
    assert first[1] < 0.001
    assert certainty_density(np.array([True]), np.array([0]), 5.0)[0] < 0.5


def test_the_window_goes_first_and_those_behind_it_by_score() -> None:
    confidence = np.array([0, 0, 0.1, 0, 0.2, 0.5, np.nan, 0.9], dtype=np.float32)
    assert most_certain(OPEN, (2, 5), confidence, 2, 100.0).tolist() == [4, 2]
    assert most_certain(OPEN, (2, 5), confidence, 3, 100.0).tolist() == [4, 2, 7]
    assert most_certain(OPEN, (2, 5), confidence, 9, 100.0).tolist() == [4, 2, 7, 5, 6]


def test_those_compete_that_lie_in_the_windows_length_of_the_last_wanted() -> None:
    """Of windows of 2, from 2 on: the third undecided position, 5, lies in the second."""
    confidence = np.array([0, 0, 0.1, 0, 0.2, 0.5, 0.6, 0.9], dtype=np.float32)
    assert most_certain(OPEN, (2, 4), confidence, 3, 100.0).tolist() == [2, 5, 4]
    assert most_certain(OPEN, (2, 4), confidence, 4, 100.0).tolist() == [2, 7, 6, 5]


def view(rows: list[int], keys: list[int], attention: Any) -> RowView:
    zeros = np.zeros(4, dtype=np.float32)
    return RowView(
        candidates=np.array(rows),
        masked=np.ones(4, dtype=bool),
        window=(0, 4),
        tokens=np.zeros(4, dtype=np.int64),
        confidence=zeros,
        attention=np.array(attention, dtype=np.float32),
        attention_rows=np.array(rows),
        attention_keys=np.array(keys),
        step=0,
        predicted=np.array(rows),
    )


def test_importance_is_the_column_sums_of_the_rollout() -> None:
    """Position 3 is out of sight; rows 0 and 1 were not computed and pay to themselves."""
    seen = view([2], [0, 1, 2], [[0.5, 0.25, 0.25]])
    assert importance(seen, 1).tolist() == [1.25, 1.125, 0.625, 0]
    assert importance(seen, 2).tolist() == [1.40625, 1.203125, 0.390625, 0]


def test_a_nucleus_has_no_more_than_its_share_and_one_at_least() -> None:
    scores = np.array([0.0, 3.0, 1.0, 4.0, 1.0, 1.0])
    assert nucleus(scores, 0.1).tolist() == [3]
    assert nucleus(scores, 0.7).tolist() == [3, 1]
    assert nucleus(scores, 0.8).tolist() == [3, 1, 2]
    assert nucleus(scores, 1.0).tolist() == [3, 1, 2, 4, 5]
    assert nucleus(scores, 0.0).tolist() == nucleus(np.zeros(3), 0.5).tolist() == []


def test_gaps_are_filled_where_both_ends_are_near() -> None:
    chosen = np.zeros(10, dtype=bool)
    chosen[[0, 3, 7, 9]] = True
    assert np.flatnonzero(without_gaps(chosen, 3)).tolist() == [0, 1, 2, 3, 7, 8, 9]
    assert np.flatnonzero(without_gaps(chosen, 1)).tolist() == [0, 3, 7, 9]
    assert without_gaps(chosen, 4).sum() == 10


@given(st.data())
def test_the_pieces_are_those_of_loops_and_matrices(data: Any) -> None:
    masked = np.array(data.draw(st.lists(st.booleans(), min_size=1, max_size=30)))
    sigma, rng = data.draw(st.sampled_from([0.3, 1.0, 7.0])), np.random.default_rng(0)
    places = np.arange(len(masked))
    expected = [plain_d2.density((~masked).tolist(), p, sigma) for p in places]
    assert certainty_density(masked, places, sigma) == pytest.approx(expected)
    scores = rng.permutation(len(masked)) / 64
    share = data.draw(st.sampled_from([0.0, 0.1, 0.5]))
    positive = {p: score for p, score in enumerate(scores.tolist()) if score}
    assert set(nucleus(scores, share).tolist()) == plain_d2.nucleus(positive, share)


# Beside a plain reference


RULES: dict[str, Any] = {
    "one": (OnePerStep(), lambda confidence, known: confidence > 2),
    "middling": (Middling(), middling),
}
OPTIONS = st.fixed_dictionaries(
    {
        "refresh": st.sampled_from(["never", "block", "drift", 3]),
        "gamma": st.sampled_from([0.3, 0.8]),
        "current_k": st.sampled_from([1, 3, 6, 32]),
        "rollout_p": st.sampled_from([0.0, 0.1, 0.4]),
        "sigma": st.sampled_from([0.5, 3.0, 10.0]),
        "inflate_w": st.sampled_from([0, 2, 4]),
        "layers": st.sampled_from([1, 3]),
    }
)
WINDOWS = st.sampled_from([Blocks(3), Blocks(5), Single(), Sliding(4, "fixed")])


@st.composite
def requests(draw: st.DrawFn) -> tuple[list[int], int, str, Any, Any]:
    """A row with given tokens among its holes, its rule and window, and the options."""
    prompt = draw(st.lists(st.integers(0, 28), min_size=1, max_size=6))
    hole = st.one_of(st.just(MASK), st.just(MASK), st.integers(0, 28))
    answer = draw(st.lists(hole, min_size=0, max_size=14))
    ids = [*prompt, *answer, MASK]
    return ids, len(prompt), draw(st.sampled_from([*RULES])), draw(WINDOWS), draw(OPTIONS)


def plain(request: Any, engine: Any, mask: int, shift: int) -> PlainD2:
    ids, start, rule, window, options = request
    return PlainD2(
        engine=engine,
        ids=[*ids],
        mask=mask,
        shift=shift,
        window=window,
        state=lambda now: RowState.fill(np.array(now), start, mask, shift=shift),
        behind=False,
        refresh=options["refresh"],
        all_heads=True,
        rule=RULES[rule][1],
        reads_known=rule == "middling",
        gamma=options["gamma"],
        count=options["current_k"],
        share=options["rollout_p"],
        sigma=options["sigma"],
        gap=options["inflate_w"],
        layers=options["layers"],
    ).decode()


def rows_of(batch: list[Any], engine: Any, mask: int, shift: int, padding: Any) -> list[RowState]:
    rows = [RowState.fill(np.array(one[0]), one[1], mask, shift=shift) for one in batch]
    schemes = [Unmask(RULES[rule][0], window, D2(**how)) for _, _, rule, window, how in batch]
    return list(finished(batch_of(engine, rows, schemes, padding)).rows.values())


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
    how = {"refresh": "never", "gamma": 0.9, "current_k": 6, "rollout_p": 0.2, "sigma": 3.0}
    batch: list[Any] = []
    for window, rule, more in [
        (Blocks(8), "one", {"inflate_w": 0, "layers": 1}),
        (Single(), "middling", {"inflate_w": 3, "layers": 2, "refresh": 7}),
    ]:
        prompt = rng.integers(5, 200, int(rng.integers(3, 20))).tolist()
        batch.append(([*prompt, *[mask] * 20], len(prompt), rule, window, {**how, **more}))
    for request, row in zip(batch, rows_of(batch, engine, mask, shift, "left"), strict=True):
        assert_equal(row, plain(request, engine, mask, shift), 1e-5)
    engine.close()


# What is fed and decided


@pytest.mark.parametrize("shift", [0, 1])
def test_a_cached_step_feeds_about_as_many_positions_whatever_the_length(shift: int) -> None:
    most = 0
    for new in (24, 48):
        engine = Recorder(3)
        cache = D2(current_k=4, rollout_p=0.0)
        run_cached([[1, 2, 3]], new, OnePerStep(), cache, Single(), engine=engine, shift=shift)
        first, *others = engine.fed()
        assert len(first) == 3 + new
        assert len(others) == new - 1
        most = max(most, *map(len, others))
    assert 4 <= most <= 5 + 4 * shift


def test_what_is_left_out_of_a_step_is_not_decided_in_it() -> None:
    scheme = Unmask(OnePerStep(), Single(), D2(current_k=2, rollout_p=0.0))
    batch = batch_of(Aging(3), begin([[*range(5)]], 12), scheme)
    before = batch.row(0)
    for number, (row,) in enumerate(states(batch)):
        (ask,) = scheme.ask(before)
        fed = set(ask.positions.tolist())
        assert len(ask.predict) == (12 if not number else min(2, 12 - number))
        assert set(np.flatnonzero(row.commit_step == number)) <= fed
        before = row


def test_what_a_window_hides_is_not_chosen() -> None:
    engine = Recorder(2)
    window = Pruned(4, near=2)
    run_cached([[1, 2, 3]], 20, OnePerStep(), D2(current_k=6), window, engine=engine)
    assert engine.fed()[0] == [*range(9), 22]
    assert max(len(fed) for fed in engine.fed()) <= 12


def test_a_budget_is_held_up_by_what_was_not_predicted() -> None:
    """Positions 1 and 2 are open, 1 was left out of the step."""
    seen = RowView(
        candidates=np.array([2]),
        masked=np.array([False, True, True]),
        window=(0, 3),
        tokens=np.array([-1, -1, 5]),
        confidence=np.array([np.nan, np.nan, 0.9], dtype=np.float32),
        attention=np.zeros((0, 0), dtype=np.float32),
        attention_rows=np.zeros(0, dtype=np.int64),
        attention_keys=np.zeros(0, dtype=np.int64),
        step=1,
        predicted=np.array([2]),
        entropy=np.array([np.nan, np.nan, 0.1], dtype=np.float32),
    )
    assert Budget(4.0).allowed(seen, seen.candidates).size == 0
    assert not Budget(4.0).alone(seen, seen.candidates).any()


def test_it_reads_the_attention_of_all_that_is_fed() -> None:
    needs = D2().needs
    assert (needs | Needs(evidence="all")).evidence == "fed"
    assert needs.key_means
    assert not Needs(evidence="candidates").key_means


# Who cannot follow


@pytest.mark.parametrize("scheme_class", [FreeDave, Verify])
def test_schemes_that_draft_refuse_it(scheme_class: Any) -> None:
    with pytest.raises(OptionError, match="drafts predict all of a block; use cache 'none'"):
        scheme_class(cache=D2(refresh="block"))


def test_block_models_refuse_it() -> None:
    with pytest.raises(OptionError, match="got 'd2'"):
        BlockCausal(OnePerStep(), Blocks(4), D2())


@pytest.mark.parametrize(
    "text", ["d2:current_k=0", "d2:rollout_p=1.5", "d2:sigma=0", "d2:inflate_w=-1", "d2:layers=0"]
)
def test_a_value_out_of_range_is_named(text: str) -> None:
    with pytest.raises(OptionError, match=text[3:].split("=")[0]):
        CACHES.parse(text)
