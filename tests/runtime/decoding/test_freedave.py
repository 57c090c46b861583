"""FreeDave at temperature 0 decodes what one token per step decodes, in fewer runs."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import Blocks, Decoder, Dual, OnePerStep, OptionError, Single, Sliding
from dawn_runtime.decoding import CACHES, RowState, Scheme, Unmask, Window
from dawn_runtime.decoding.schemes import FreeDave
from dawn_runtime.engine.fake import FakeEngine
from support.decoding import END, MANIFEST, MASK, Steady, batch_of, finished, states

TEMPLATES = st.lists(st.sampled_from([1, 2, 3, MASK, MASK, MASK]), min_size=1, max_size=24)
SHARES = st.sampled_from([0.0, 0.8, 0.95, 1.0])


def decode(row: RowState, scheme: Scheme, share: float, seed: int) -> RowState:
    return finished(batch_of(FakeEngine(MANIFEST, Steady(share, seed)), [row], scheme)).row(0)


@given(
    template=TEMPLATES,
    drafts=st.integers(1, 9),
    shift=st.integers(0, 1),
    cache=st.sampled_from(["none", "prefix", "dual"]),
    window=st.sampled_from([Blocks(3), Blocks(8), Single()]),
    end=st.booleans(),
    share=SHARES,
    seed=st.integers(0, 1000),
)
@settings(max_examples=80)
def test_it_is_one_token_per_step_in_fewer_runs(
    template: list[int],
    drafts: int,
    shift: int,
    cache: str,
    window: Window,
    end: bool,
    share: float,
    seed: int,
) -> None:
    """For a model that predicts the next token without a cache: with one, see below."""
    cache = "none" if shift else cache
    ids = np.array([5, 6, *template, MASK])
    row = RowState.fill(ids, 2, MASK, (END,) if end else (), shift=shift)
    fast = decode(row, FreeDave(drafts, 0.0, window, CACHES.parse(cache)), share, seed)
    slow = decode(row, Unmask(OnePerStep(), window, CACHES.parse(cache)), share, seed)
    assert fast.answer.tolist() == slow.answer.tolist()
    assert fast.finished
    if not end:
        np.testing.assert_array_equal(fast.ids, slow.ids)
    assert fast.step <= slow.step + len(blocks(row, window)), "an opening run for each block"


@pytest.mark.parametrize("cache", ["none", "dual"])
def test_right_drafts_save_runs_and_wrong_ones_cost_none(cache: str) -> None:
    taken = {}
    for share in (0.0, 0.9, 1.0):
        row = RowState.begin(np.array([5, 6]), 24, MASK)
        fast = decode(row, FreeDave(4, 0.0, Blocks(8), CACHES.parse(cache)), share, 3)
        slow = decode(row, Unmask(OnePerStep(), Blocks(8), CACHES.parse(cache)), share, 3)
        assert fast.ids.tolist() == slow.ids.tolist()
        taken[share] = fast.step
    assert taken[0.0] <= 24
    assert taken[1.0] < taken[0.9] < 20
    # Openings, and drafts of 1 to 4 tokens; the last token of a block comes without a run.
    assert taken[1.0] <= 3 * 3


def blocks(row: RowState, window: Window) -> list[int]:
    length = getattr(window, "block_length", row.length)
    return list(range(row.start, row.length, length))


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_with_a_cache_a_model_of_the_next_token_gets_its_first_position_from_the_opening(
    cache: str,
) -> None:
    """There is no row for it in the block, so it is committed by the opening run."""
    row = RowState.begin(np.array([5, 6]), 9, MASK, shift=1)
    scheme = FreeDave(3, 0.0, Blocks(4), CACHES.parse(cache))
    opened = []
    for (after,) in states(batch_of(FakeEngine(MANIFEST), [row], scheme)):
        new = [commit.position for commit in after.last_commits()]
        if any(position in (2, 6, 10) for position in new):
            opened.append(new)
    assert opened == [[2], [6], [10]]


@given(template=TEMPLATES, threshold=st.floats(0.1, 1), shift=st.integers(0, 1), data=st.data())
@settings(max_examples=40)
def test_with_a_threshold_it_ends_and_leaves_given_tokens_alone(
    template: list[int], threshold: float, shift: int, data: st.DataObject
) -> None:
    ids = np.array([5, 6, *template, MASK])
    row = RowState.fill(ids, 2, MASK, shift=shift)
    cache = CACHES.parse(data.draw(st.sampled_from(["none", "prefix", "dual"])))
    scheme = FreeDave(data.draw(st.integers(1, 6)), threshold, Blocks(5), cache)
    done = decode(row, scheme, data.draw(SHARES), data.draw(st.integers(0, 1000)))
    np.testing.assert_array_equal(done.ids[ids != MASK], ids[ids != MASK])
    assert not done.masked.any()
    assert done.step <= scheme.bound(row)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drafts": 0}, "scheme 'freedave': drafts is 0; expected an integer from 1 to 64"),
        ({"drafts": 65}, "drafts is 65; expected an integer from 1 to 64"),
        ({"threshold": 2}, "threshold is 2; expected a number from 0 to 1"),
        ({"window": Sliding(4)}, "scheme 'freedave' decides block by block"),
        ({"cache": Dual("never")}, "scheme 'freedave': a cache is refreshed at each block; got"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        FreeDave(**options)


def test_it_is_a_policy_by_name_with_what_suits_it(fake_decoder: Decoder) -> None:
    rules: Any = {"input_ids": [1, 2], "max_new_tokens": 20, "block_length": 8, "cache": "dual"}
    result = fake_decoder.generate(policy="freedave", options={"drafts": 6}, **rules)
    assert (result.policy, result.options) == ("freedave", {"drafts": 6, "threshold": 0.0})
    slow = fake_decoder.generate(policy="one-per-step", **rules)
    assert result.tokens.tolist() == slow.tokens.tolist()
    assert result.forwards <= slow.forwards + 3, "an opening run for each block"
    with pytest.raises(OptionError, match="scheme 'freedave' draws no tokens; leave temperature"):
        fake_decoder.generate(policy="freedave", temperature=1.0, **rules)
