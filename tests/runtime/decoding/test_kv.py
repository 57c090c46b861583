"""The memory of kept keys: its size, that it is allocated once, and that rows stay apart."""

from dataclasses import replace

import numpy as np
import pytest

from dawn_runtime import (
    Blocks,
    Dual,
    EngineError,
    EngineInfo,
    OnePerStep,
    Prefix,
    StepInputs,
    StepOutputs,
)
from dawn_runtime.decoding import KvStore, kv_bytes
from support.caching import Recorder, begin_cached, run_cached
from support.decoding import finished

INFO = EngineInfo("test", 3, 2, 4, 32, 96, "float32")


def filled(batch: int, slots: int, tokens: int = 32) -> KvStore:
    """A store in which every number tells its row, slot, part and head."""
    store = KvStore(INFO, tokens)
    store.arrange(dict.fromkeys(range(batch), slots), range(batch))
    for row in range(batch):
        store.write(row, np.arange(slots), present(row, slots), 0, np.arange(slots))
    return store


def present(row: int, count: int) -> list[np.ndarray]:
    shape = (1, INFO.kv_heads, count, INFO.head_dim)
    slots = np.arange(count, dtype=np.float32)[:, None]
    heads = np.arange(INFO.kv_heads, dtype=np.float32)[:, None, None]
    return [
        np.broadcast_to(1000 * row + 100 * part + 10 * heads + slots, shape[1:])[None]
        for part in range(2 * INFO.layers)
    ]


def holds(store: KvStore, row: int, slots: int) -> bool:
    arrays = store.read([row])
    return all(
        np.array_equal(array[:, :, :slots], expected)
        for array, expected in zip(arrays, present(row, slots), strict=True)
    )


def test_rows_of_bytes_take_their_width_and_come_back_as_they_are() -> None:
    info = replace(INFO, head_dim=64, kv_dtype="uint8")
    assert kv_bytes(info, 16) == KvStore(info, 16).nbytes == 2 * 3 * 16 * 2 * 68
    store, random = KvStore(info, 16), np.random.default_rng(0)
    rows = [random.integers(0, 256, (1, 2, 5, 68), dtype=np.uint8) for _ in range(6)]
    store.arrange({7: 5}, [7])
    store.write(7, np.arange(5), rows, 0, np.arange(5))
    other = KvStore(info, 16)
    other.arrange({1: 5}, [1])
    other.restore(1, store.save(7, np.arange(5)), 5)
    for read in (store.read([7]), other.read([1])):
        for found, expected in zip(read, rows, strict=True):
            assert found.dtype == np.uint8
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("float16", 2)])
@pytest.mark.parametrize("tokens", [256, 400])
def test_memory_is_two_arrays_a_layer_of_tokens_heads_and_width(
    tokens: int, dtype: str, size: int
) -> None:
    info = replace(INFO, kv_dtype=dtype)
    expected = 2 * 3 * tokens * 2 * 4 * size
    assert kv_bytes(info, tokens) == KvStore(info, tokens).nbytes == expected


def test_all_rows_are_read_without_a_copy_and_without_a_gap() -> None:
    store = filled(2, 5)
    first, second = store.read([0, 1]), store.read([0, 1])
    for one, other in zip(first, second, strict=True):
        assert one.shape == (2, 2, 5, 4)
        assert one.flags.c_contiguous
        assert np.shares_memory(one, other)


def test_some_rows_are_read_in_the_order_asked_for_and_as_often() -> None:
    store = filled(3, 5)
    (key, *_) = store.read([2, 0, 2])
    assert key[:, 0, 1, 0].tolist() == [2001.0, 1.0, 2001.0]


def test_rows_survive_when_others_leave_and_when_slots_are_added() -> None:
    store = filled(4, 3)
    store.arrange({1: 3, 3: 3}, ())
    assert store.rows == (1, 3)
    assert holds(store, 1, 3)
    assert holds(store, 3, 3)
    store.arrange({1: 8, 3: 3}, [1])
    assert store.slots == 8
    assert holds(store, 3, 3)
    store.arrange({1: 2, 3: 3}, [1])
    assert store.slots == 8, "the other row still needs its slots"
    store.arrange({1: 2, 3: 2}, [1, 3])
    assert store.slots == 2


def test_rows_survive_when_others_join() -> None:
    store = filled(2, 3)
    store.arrange({0: 3, 1: 3, 7: 5}, [7])
    assert (store.rows, store.slots) == ((0, 1, 7), 5)
    assert holds(store, 0, 3)
    assert holds(store, 1, 3)
    store.write(7, np.arange(5), present(7, 5), 0, np.arange(5))
    store.arrange({7: 5, 1: 3, 9: 2}, [9])
    assert (store.rows, store.slots) == ((1, 7, 9), 5), "those that stay keep their order"
    assert holds(store, 7, 5)
    assert holds(store, 1, 3)


def test_more_than_there_is_memory_for_is_refused() -> None:
    store = filled(2, 3, tokens=8)
    with pytest.raises(EngineError, match="keys of 3 rows with 3 slots each need room for 9 token"):
        store.arrange({0: 3, 1: 3, 2: 1}, [2])
    assert store.rows == (0, 1)
    assert holds(store, 1, 3)


def test_unused_slots_are_finite() -> None:
    store = filled(2, 3)
    store.arrange({0: 6, 1: 3}, [0])
    assert all(np.isfinite(array).all() for array in store.read([0, 1]))


def test_decoding_allocates_the_memory_once_for_the_longest_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    addresses, sizes = set(), []

    class Spy(Recorder):
        def run(self, inputs: StepInputs) -> StepOutputs:
            addresses.update(array.__array_interface__["data"][0] for array in inputs.past[:1])
            return super().run(inputs)

    class Counted(KvStore):
        def __init__(self, info: EngineInfo, tokens: int) -> None:
            super().__init__(info, tokens)
            sizes.append(self.nbytes)

    monkeypatch.setattr("dawn_runtime.decoding.memory.KvStore", Counted)
    engine = Spy()
    batch = begin_cached([[1, 2, 3]], 24, OnePerStep(), Dual(), Blocks(8), engine=engine)
    finished(batch)
    assert len(addresses) == 1
    assert sizes == [kv_bytes(engine.describe(), 27)] == [batch.kv_bytes_bound]


def test_past_holds_exactly_what_is_kept() -> None:
    engine = Recorder()
    run_cached([[1, 2, 3]], 8, OnePerStep(), Dual(), Blocks(4), engine=engine)
    assert {inputs.past[0].shape[2] for inputs in engine.seen if inputs.past} == {7}
    engine = Recorder()
    run_cached([[1, 2, 3]], 8, OnePerStep(), Prefix(), Blocks(4), engine=engine)
    assert [i.past[0].shape[2] for i in engine.seen if i.past] == [3, 3, 3, 7, 7, 7]
