"""Blocks are made by several threads and handed on in their order."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_export.weights.in_order import WORKERS, InOrder
from dawn_export.weights.scratch import Scratch


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 3), max_size=20), st.integers(0, 5))
def test_whatever_takes_longest_the_order_stays(naps: list[int], ahead: int) -> None:
    def slow(item: tuple[int, int]) -> int:
        time.sleep(item[1] / 2000)
        return item[0]

    with InOrder() as in_order:
        assert list(in_order.map(slow, enumerate(naps), ahead)) == list(range(len(naps)))


@pytest.mark.parametrize("ahead", [0, 1, WORKERS])
def test_no_more_are_begun_than_one_and_those_ahead(ahead: int) -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(12):
            taken.append(item)
            yield item

    with InOrder() as in_order:
        for number, _ in enumerate(in_order.map(str, items(), ahead), 1):
            assert len(taken) <= number + ahead


def test_after_an_error_nothing_is_being_made() -> None:
    gate, made = threading.Event(), []

    def make(item: int) -> int:
        if item == 0:
            raise ValueError("first")
        gate.wait(5)
        made.append(item)
        return item

    with InOrder() as in_order:
        blocks = in_order.map(make, range(2), 1)
        threading.Timer(0.05, gate.set).start()
        with pytest.raises(ValueError, match="first"):
            next(blocks)
        assert made in ([], [1])
        before = list(made)
        time.sleep(0.1)
        assert made == before


def test_two_are_made_at_a_time() -> None:
    both = threading.Barrier(2, timeout=10)
    with InOrder() as in_order:
        assert len(list(in_order.map(lambda _: both.wait(), range(2)))) == 2


def test_scratch_is_each_threads_own_and_grows() -> None:
    scratch = Scratch()
    mine = scratch.empty("a", (2, 3), torch.float32).fill_(1)
    with InOrder() as in_order:
        (theirs,) = in_order.map(lambda _: scratch.empty("a", (2, 3), torch.float32).fill_(2), [0])
    assert (mine == 1).all()
    assert (theirs == 2).all()
    assert scratch.empty("a", (6,), torch.float32).data_ptr() == mine.data_ptr()
    assert scratch.empty("a", (7,), torch.bfloat16).shape == (7,)
    assert scratch.empty("a", (70, 2), torch.int8).stride() == (2, 1)
