"""Rows that join and leave: keys, bounds, failures, and memory that stays flat."""

import gc
import tracemalloc
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from dawn_runtime import (
    Blocks,
    DawnError,
    Dual,
    EngineError,
    NoCache,
    OnePerStep,
    OptionError,
    Prefix,
    Single,
    StepInputs,
    StepOutputs,
    Threshold,
)
from dawn_runtime.decoding import Batch, KvStore, Packer, RowState, Scheme, Unmask, kv_bytes
from dawn_runtime.decoding.caches.d2 import D2
from dawn_runtime.decoding.schemes import FreeDave, Wino
from dawn_runtime.engine import EngineInfo
from dawn_runtime.engine.fake import FakeEngine
from dawn_runtime.errors import BatchFullError
from support.caching import Recorder, same_decisions
from support.decoding import DAWN, MANIFEST, batch_of, begin, finished, same_row

PLAIN = Unmask(OnePerStep(), Single(), NoCache())
CACHED = Unmask(OnePerStep(), Blocks(4), Dual())


def empty(engine: Any = None, rows: int = 4, tokens: int = 64) -> Batch:
    return Batch(engine or FakeEngine(MANIFEST), Packer(0), max_rows=rows, max_tokens=tokens)


def one(prompt: list[int], new: int) -> RowState:
    (row,) = begin([prompt], new)
    return row


def alone(row: RowState, scheme: Scheme) -> RowState:
    return finished(batch_of(FakeEngine(MANIFEST), [row], scheme)).row(0)


def test_a_row_joins_while_others_are_under_way_and_leaves_with_its_own_answer() -> None:
    batch = empty()
    first, second = one([1, 2], 6), one([3], 4)
    key = batch.admit(first, PLAIN)
    assert batch.step() == (key,)
    other = batch.admit(second, CACHED)
    assert batch.active == (key, other)
    assert batch.step() == (key, other)
    while batch.active:
        moved = batch.step()
        assert set(moved) <= {key, other}
    assert (batch.steps(key), batch.steps(other)) == (6, 4)
    assert batch.is_finished(key)
    assert same_row(batch.leave(other), alone(second, CACHED))
    assert same_row(batch.leave(key), alone(first, PLAIN))
    assert (batch.active, dict(batch.rows), batch.step()) == ((), {}, ())


def test_a_row_may_leave_before_its_end_with_what_is_there() -> None:
    batch = empty()
    key = batch.admit(one([1, 2], 6), CACHED)
    batch.step()
    batch.step()
    row = batch.leave(key)
    assert (row.step, row.decided, row.finished) == (2, 2, False)


@pytest.mark.parametrize(
    "scheme",
    [CACHED, FreeDave(window=Blocks(4), cache=Dual()), PLAIN, Wino()],
    ids=lambda s: s.name,
)
def test_a_row_that_left_may_join_again_and_goes_on(scheme: Scheme) -> None:
    """Its keys are gone, so it begins with a full pass; on this engine that changes no token."""
    expected = alone(one([1, 2], 9), scheme)
    batch = empty(rows=8, tokens=128)
    for other in range(2):  # who has another place, so that keys of others could be read
        batch.admit(one([7 + other], 5), CACHED)
    row = one([1, 2], 9)
    for steps in (2, 1):
        key = batch.admit(row, scheme)
        for _ in range(steps):
            batch.step()
        row = batch.leave(key)
        assert not row.finished
    again = batch.admit(row, scheme)
    assert finished(batch).row(again).ids.tolist() == expected.ids.tolist()


def test_keys_are_never_used_again() -> None:
    batch = empty(rows=1)
    keys = []
    for _ in range(5):
        keys.append(batch.admit(one([1], 2), PLAIN))
        batch.leave(keys[-1])
    assert len(set(keys)) == 5


@pytest.mark.parametrize(
    "call", ["row", "leave", "is_finished", "steps", "engine_seconds_of"], ids=str
)
def test_a_key_that_left_or_never_joined_is_named(call: str) -> None:
    batch = empty()
    key = batch.admit(one([1], 2), PLAIN)
    batch.leave(key)
    for wrong in (key, 99):
        with pytest.raises(DawnError, match=rf"the batch has no row {wrong}; it has left or never"):
            getattr(batch, call)(wrong)


def test_rows_cannot_be_written_through_the_view_of_them() -> None:
    batch = empty()
    batch.admit(one([1], 2), PLAIN)
    with pytest.raises(TypeError):
        batch.rows[5] = one([1], 2)  # type: ignore[index]


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"max_rows": 0, "max_tokens": 8}, "batch: max_rows is 0; expected an integer >= 1"),
        ({"max_rows": 1, "max_tokens": 0}, "batch: max_tokens is 0; expected an integer >= 1"),
        ({"max_rows": 1.5, "max_tokens": 8}, "batch: max_rows is 1.5"),
        ({"max_rows": True, "max_tokens": 8}, "batch: max_rows is True"),
    ],
)
def test_a_bad_bound_is_named(bounds: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Batch(FakeEngine(MANIFEST), Packer(0), **bounds)


def test_a_full_batch_refuses_and_goes_on() -> None:
    batch = empty(rows=2, tokens=20)
    first = batch.admit(one([1], 5), PLAIN)
    with pytest.raises(BatchFullError, match="2 rows of up to 12 tokens exceed the 20 tokens of"):
        batch.admit(one([1, 2], 10), PLAIN)
    second = batch.admit(one([1, 2], 8), PLAIN)
    with pytest.raises(BatchFullError, match="2 of 2 rows are taken and this needs 1; let one"):
        batch.admit(one([1], 1), PLAIN)
    batch.leave(first)
    batch.admit(one([1, 2], 8), PLAIN)
    with pytest.raises(BatchFullError):
        batch.admit(one([1, 2], 8), PLAIN)
    assert set(finished(batch).rows) == {second, second + 1}


def test_a_scheme_counts_as_many_rows_as_it_asks_things_at_once() -> None:
    batch = empty(rows=4, tokens=64)
    with pytest.raises(OptionError, match="a request of 5 rows of 4 tokens never fits a batch"):
        batch.admit(one([1], 3), FreeDave(drafts=5))
    key = batch.admit(one([1], 3), FreeDave(drafts=3, window=Single()))
    batch.admit(one([1], 3), PLAIN)
    with pytest.raises(BatchFullError, match="4 of 4 rows are taken and this needs 1"):
        batch.admit(one([1], 3), PLAIN)
    batch.leave(key)
    batch.admit(one([1], 3), PLAIN)


def test_a_scheme_that_does_not_suit_the_model_is_refused_and_takes_no_place() -> None:
    batch = empty(rows=1)
    (row,) = begin([[1]], 3, shift=1)
    with pytest.raises(OptionError, match="scheme 'wino' checks a token in a row that predicts"):
        batch.admit(row, Wino(window=Single()))
    batch.admit(row, PLAIN)


def test_a_run_that_fails_leaves_everything_as_it_was_and_the_step_can_be_taken_again() -> None:
    """Whichever run of the mixed step it is: full passes, cached ones, both."""

    class Flaky(Recorder):
        failing = frozenset[int]()

        def run(self, inputs: StepInputs) -> StepOutputs:
            outputs = super().run(inputs)
            if len(self.seen) in self.failing:
                raise EngineError("lost power")
            return outputs

    schemes: list[Scheme] = [CACHED, Unmask(Threshold(0.6), Blocks(3), Prefix()), PLAIN, Wino()]
    rows = begin([[1, 2], [3], [4, 5, 6], [7]], [9, 8, 7, 6])
    engine = Flaky()
    engine.failing = frozenset(range(2, 60, 3))
    batch, failures = batch_of(engine, rows, schemes), 0
    while batch.active:
        before, forwards = dict(batch.rows), batch.forwards
        try:
            batch.step()
        except EngineError:
            failures += 1
            assert batch.rows == before, "the very same rows"
            assert batch.forwards == forwards
    assert failures > 4
    for key, row in batch.rows.items():
        assert same_decisions(row, alone(rows[key], schemes[key]))


def test_outputs_that_cannot_be_trusted_change_nothing_either() -> None:
    class Broken(FakeEngine):
        broken = True

        def run(self, inputs: StepInputs) -> StepOutputs:
            outputs = super().run(inputs)
            if self.broken:
                outputs.confidence[-1] = np.nan
            return outputs

    engine = Broken(MANIFEST)
    rows = begin([[1, 2], [3]], 6)
    batch = batch_of(engine, rows, [CACHED, PLAIN])
    with pytest.raises(EngineError, match="output confidence holds NaN"):
        batch.step()
    assert (batch.steps(0), batch.steps(1), batch.forwards) == (0, 0, 0)
    engine.broken = False
    assert same_row(finished(batch).row(0), alone(rows[0], CACHED))


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> list[KvStore]:
    """All memory for kept keys that is made."""
    made: list[KvStore] = []

    class Noted(KvStore):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr("dawn_runtime.decoding.memory.KvStore", Noted)
    return made


def test_memory_for_keys_is_bounded_said_at_the_start_and_made_when_needed(
    stores: list[KvStore],
) -> None:
    batch = empty(rows=3, tokens=40)
    bound = batch.kv_bytes_bound
    assert bound == kv_bytes(FakeEngine(MANIFEST).describe(), 40)
    plain = batch.admit(one([1], 3), PLAIN)
    batch.step()
    assert not stores, "nothing keeps keys"
    batch.admit(one([1, 2], 10), CACHED)
    batch.leave(plain)
    batch.admit(one([3], 12), CACHED)
    batch.admit(one([3], 8), CACHED)
    finished(batch)
    assert [store.nbytes for store in stores] == [bound] == [batch.kv_bytes_bound]


def test_keys_of_rows_that_leave_or_finish_are_given_up_at_once(stores: list[KvStore]) -> None:
    batch = empty(rows=3, tokens=60)
    first, second, third = (batch.admit(one([1, 2], new), CACHED) for new in (9, 2, 12))
    batch.step()
    (store,) = stores
    assert store.rows == (first, second, third)
    batch.step()
    assert store.rows == (first, third), "the second is finished"
    batch.leave(first)
    assert store.rows == (third,)
    joined = batch.admit(one([5, 6, 7], 8), CACHED)
    assert store.rows == (third,), "it keeps nothing yet"
    batch.step()
    assert store.rows == (third, joined)
    batch.leave(third)
    batch.leave(joined)
    assert (store.rows, store.slots) == ((), 0)


def test_memory_stays_flat_over_15000_joins(stores: list[KvStore]) -> None:
    """Rows of one or two tokens to decide; some leave early, every third keeps keys."""
    batch = empty(rows=4, tokens=16)
    rows = [one([1, 2], 1), one([3], 2), one([1, 2], 2)]
    schemes = [PLAIN, PLAIN, CACHED]
    gc.collect()
    tracemalloc.start()
    try:
        sizes = [joins(batch, rows, schemes, 2500) for _ in range(6)]
    finally:
        tracemalloc.stop()
    assert batch.admit(rows[0], PLAIN) == 15000
    assert len(stores) == 1
    # What leaks grows in every part, a pointer a join by 20 KB. What Python keeps once for each
    # function does not: 3.10 keeps frames, and code to look names up after 1024 calls.
    assert min(after - before for before, after in pairwise(sizes)) < 16384 / 3, sizes


def joins(batch: Batch, rows: list[RowState], schemes: list[Unmask], count: int) -> int:
    """Lets rows join, step and leave; returns the bytes in use afterwards."""
    for number in range(count):
        key = batch.admit(rows[number % 3], schemes[number % 3])
        if number % 20 == 0:
            batch.step()
        if len(batch.rows) == 4 or number % 7 == 0:
            for each in tuple(batch.rows):
                batch.leave(each)
        assert key not in batch.rows or not batch.is_finished(key) or number % 20 == 0
    for each in tuple(batch.rows):
        batch.leave(each)
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


class Counting(FakeEngine):
    """An engine whose kernels count so many rows of attention times keys."""

    most = 0

    def describe(self) -> EngineInfo:
        return replace(super().describe(), most_evidence=self.most)


READS_ALL = Unmask(DAWN, Single(), NoCache())


def counting(most: int, packer: Packer) -> Batch:
    engine = Counting(MANIFEST)
    engine.most = most
    return Batch(engine, packer, max_rows=4, max_tokens=400)


def test_rows_whose_evidence_no_kernel_could_count_wait_for_others() -> None:
    batch = counting(2 * 8 * 8, Packer(0))
    first = batch.admit(one([1, 2], 6), READS_ALL)
    batch.admit(one([3], 5), PLAIN)
    with pytest.raises(BatchFullError, match="of 3 rows of up to 8 tokens 192 weights a head, and"):
        batch.admit(one([1], 1), PLAIN)
    with pytest.raises(BatchFullError, match="of 3 rows of up to 9 tokens 243 weights a head"):
        batch.admit(one([1, 2, 3], 6), READS_ALL)
    batch.leave(first)
    for _ in range(3):
        batch.admit(one([1, 2, 3], 60), PLAIN)  # of which no evidence is wanted
    assert len(batch.active) == 4


def test_a_row_whose_evidence_no_kernel_could_ever_count_is_refused() -> None:
    batch = counting(8 * 8, Packer(0))
    batch.leave(batch.admit(one([1, 2], 6), READS_ALL))
    with pytest.raises(OptionError, match="of all of 9 tokens, 81 weights a head, and the engine"):
        batch.admit(one([1, 2], 7), READS_ALL)
    batch.admit(one([1, 2], 7), PLAIN)


def test_what_fed_tokens_are_filled_up_with_counts_too() -> None:
    packer = replace(Packer(0), multiple=8)
    batch = counting(5 * 8, packer)
    batch.leave(batch.admit(one([1], 4), READS_ALL))
    with pytest.raises(OptionError, match="48 weights a head"):
        batch.admit(one([1], 5), READS_ALL)


def test_rows_of_attention_that_grow_with_the_row_are_those_of_a_full_pass() -> None:
    row = one([1, 2], 6)
    assert READS_ALL.evidence_rows(row) == 8
    assert Unmask(OnePerStep(), Blocks(4), D2()).evidence_rows(row) == 8
    assert CACHED.evidence_rows(row) == PLAIN.evidence_rows(row) == Wino().evidence_rows(row) == 0
