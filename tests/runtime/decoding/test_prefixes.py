"""Of texts the longest beginning is found, within a bound, and the latest used goes last."""

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawn_runtime import OptionError
from dawn_runtime.decoding.prefixes import PrefixCache

TEXTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=12)


def keys(ids: list[int]) -> tuple[np.ndarray, ...]:
    """Of a model whose key at a position is a number made of all tokens up to there."""
    numbers = np.cumsum([token * 10**place for place, token in enumerate(ids)])
    return (numbers.reshape(1, 1, -1, 1).astype(np.float32),) * 2


def put(cache: PrefixCache, ids: list[int], kind: Any = None) -> None:
    cache.put(kind, np.array(ids), keys(ids))


def find(cache: PrefixCache, ids: list[int], kind: Any = None) -> int:
    length, arrays = cache.find(kind, np.array(ids))
    for array, expected in zip(arrays, keys(ids), strict=bool(length)):
        np.testing.assert_array_equal(array, expected[:, :, :length])
    return length


@given(texts=TEXTS, asked=st.lists(st.integers(0, 2), min_size=1, max_size=8))
def test_the_longest_common_beginning_is_found(texts: list[list[int]], asked: list[int]) -> None:
    cache = PrefixCache(10**6)
    for text in texts:
        put(cache, text)
    expected = max(
        next(
            (n for n in range(min(len(t), len(asked))) if t[n] != asked[n]), min(len(t), len(asked))
        )
        for t in texts
    )
    assert find(cache, asked) == expected


@given(texts=TEXTS, bound=st.integers(0, 400))
def test_the_bound_is_kept(texts: list[list[int]], bound: int) -> None:
    cache = PrefixCache(bound)
    for text in texts:
        put(cache, text)
        assert cache.reuse.nbytes <= bound
    held = cache.reuse
    assert held.nbytes == 0 or held.entries > 0


def test_a_text_that_goes_on_takes_the_place_of_its_beginning() -> None:
    cache = PrefixCache(10**6)
    put(cache, [1, 2])
    put(cache, [1, 2, 3])
    put(cache, [1, 2, 3])
    put(cache, [1])
    assert cache.reuse.entries == 1
    put(cache, [1, 3])
    assert cache.reuse.entries == 2


def test_what_was_not_used_for_longest_goes_first() -> None:
    size = np.array([1, 1]).nbytes + 2 * 2 * 4
    cache = PrefixCache(2 * size)
    put(cache, [1, 1])
    put(cache, [2, 2])
    assert find(cache, [1, 1]) == 2
    put(cache, [3, 3])
    assert [find(cache, [token, token]) for token in (1, 2, 3)] == [2, 0, 2]
    put(cache, [5] * 9)
    assert cache.reuse.entries == 2, "what alone exceeds the bound is not taken in"


def test_keys_of_another_kind_are_another_text() -> None:
    cache = PrefixCache(10**6)
    put(cache, [1, 2], "blocks of 4")
    assert find(cache, [1, 2], "blocks of 8") == 0
    assert find(cache, [1, 2], "blocks of 4") == 2


def test_what_is_held_is_a_copy_and_cannot_be_written() -> None:
    cache, arrays = PrefixCache(10**6), keys([1, 2])
    cache.put(None, np.array([1, 2]), arrays)
    arrays[0][:] = 7
    _, found = cache.find(None, np.array([1, 2]))
    assert found[0].ravel().tolist() == [1, 21]
    with pytest.raises(ValueError, match="read-only"):
        found[0][:] = 0


def test_it_counts_what_it_was_good_for_and_can_be_emptied() -> None:
    cache = PrefixCache(10**6)
    put(cache, [1, 2, 3])
    find(cache, [1, 2])
    cache.taken(2)
    find(cache, [9])
    cache.taken(0)
    assert (cache.reuse.lookups, cache.reuse.hits, cache.reuse.tokens) == (2, 1, 2)
    cache.clear()
    assert (cache.reuse.entries, cache.reuse.nbytes, find(cache, [1])) == (0, 0, 0)


def test_threads_may_share_it() -> None:
    cache, errors = PrefixCache(2000), list[BaseException]()

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            for _ in range(200):
                text = rng.integers(0, 2, rng.integers(1, 8)).tolist()
                put(cache, text)
                find(cache, text)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert cache.reuse.nbytes <= 2000


def test_a_bound_below_nothing_is_refused() -> None:
    with pytest.raises(OptionError, match="max_bytes is -1"):
        PrefixCache(-1)
