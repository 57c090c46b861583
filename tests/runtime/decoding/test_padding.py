"""Padding: answers do not depend on its side, on neighbours, nor on the size of the batch."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import Decoder, OptionError, Policy
from dawn_runtime.decoding import CACHES
from support.caching import run_cached, same_decisions
from support.decoding import POLICIES

PROMPTS = st.lists(
    st.tuples(st.lists(st.integers(1, 20), min_size=1, max_size=9), st.integers(1, 14)),
    min_size=2,
    max_size=4,
)


@pytest.mark.parametrize(
    "cache", ["none", "prefix", "dual", "dual:refresh=3", "dual:feed=undecided"]
)
@pytest.mark.parametrize("shift", [0, 1])
@given(requests=PROMPTS, policy=st.sampled_from(POLICIES), end=st.booleans())
@settings(max_examples=12)
def test_rows_do_not_depend_on_padding_neighbours_or_batch(
    cache: str, shift: int, requests: list[tuple[list[int], int]], policy: Policy, end: bool
) -> None:
    prompts, counts = [list(part) for part in zip(*requests, strict=True)]
    strategy = CACHES.parse(cache)
    right, left = (
        run_cached(prompts, counts, policy, strategy, end=end, shift=shift, padding=side).rows
        for side in ("right", "left")
    )
    for index, (prompt, count) in enumerate(requests):
        alone = run_cached([prompt], count, policy, strategy, end=end, shift=shift, padding="left")
        assert same_decisions(left[index], right[index])
        assert same_decisions(left[index], alone.row(0))


def test_the_side_is_a_setting(fake_decoder: Decoder) -> None:
    rules: Any = {"max_new_tokens": 20, "policy": "dawn", "fallback_length": 0}
    prompts = [[1], [2, 3, 4], [5, 6]]
    left = fake_decoder.generate_batch(prompts, **rules, padding="left", cache="dual")
    right = fake_decoder.generate_batch(prompts, **rules, padding="right", cache="dual")
    assert [one.trace for one in left] == [one.trace for one in right]
    with pytest.raises(OptionError, match="generate: padding is 'top'; use one of right, left"):
        fake_decoder.generate_batch(prompts, padding="top")  # type: ignore[typeddict-item]
