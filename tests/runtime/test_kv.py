"""The memory of kept keys: its size, that it is allocated once, and that rows stay apart."""

from dataclasses import replace

import numpy as np
import pytest

from dawn_runtime import Blocks, Dual, EngineInfo, OnePerStep, Prefix, StepInputs, StepOutputs
from dawn_runtime.decoding import KvStore, kv_bytes, step
from support.caching import Recorder, begin_cached, run_cached
from support.decoding import packer

INFO = EngineInfo("test", 3, 2, 4, 32, 96, "float32")


def filled(batch: int, slots: int, length: int = 8) -> KvStore:
    """A store in which every number tells its row, slot, part and head."""
    store = KvStore(INFO, batch, length)
    store.reserve(slots, store.rows)
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


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("float16", 2)])
@pytest.mark.parametrize(("batch", "length"), [(1, 256), (4, 100)])
def test_memory_is_two_arrays_a_layer_of_batch_length_heads_and_width(
    batch: int, length: int, dtype: str, size: int
) -> None:
    info = replace(INFO, kv_dtype=dtype)
    expected = 2 * 3 * batch * length * 2 * 4 * size
    assert kv_bytes(info, batch, length) == KvStore(info, batch, length).nbytes == expected


def test_all_rows_are_read_without_a_copy_and_without_a_gap() -> None:
    store = filled(2, 5)
    first, second = store.read([0, 1]), store.read([0, 1])
    for one, other in zip(first, second, strict=True):
        assert one.shape == (2, 2, 5, 4)
        assert one.flags.c_contiguous
        assert np.shares_memory(one, other)


def test_some_rows_are_read_in_the_order_asked_for() -> None:
    store = filled(3, 5)
    (key, *_) = store.read([2, 0])
    assert key[:, 0, 1, 0].tolist() == [2001.0, 1.0]


def test_rows_survive_when_others_leave_and_when_slots_are_added() -> None:
    store = filled(4, 3)
    store.retain((1, 3))
    assert store.rows == (1, 3)
    assert holds(store, 1, 3)
    assert holds(store, 3, 3)
    store.reserve(8, [1])
    assert store.slots == 8
    assert holds(store, 3, 3)
    store.reserve(2, [1])
    assert store.slots == 8, "the other row still needs its slots"
    store.reserve(2, [1, 3])
    assert store.slots == 2


def test_unused_slots_are_finite() -> None:
    store = filled(2, 3)
    store.reserve(6, [0])
    assert all(np.isfinite(array).all() for array in store.read([0, 1]))


def test_decoding_allocates_the_memory_once_for_the_longest_row() -> None:
    addresses = set()

    class Spy(Recorder):
        def run(self, inputs: StepInputs) -> StepOutputs:
            addresses.update(array.__array_interface__["data"][0] for array in inputs.past[:1])
            return super().run(inputs)

    state = begin_cached([[1, 2, 3]], 24, OnePerStep(), Dual(), Blocks(8))
    engine = Spy()
    sizes = set()
    while state.active:
        state = step(engine, packer(), state)
        assert state.kv is not None
        sizes.add((id(state.kv), state.kv.nbytes))
    assert len(addresses) == 1
    assert sizes == {(id(state.kv), kv_bytes(engine.describe(), 1, 27))}


def test_past_holds_exactly_what_is_kept() -> None:
    engine = Recorder()
    run_cached(begin_cached([[1, 2, 3]], 8, OnePerStep(), Dual(), Blocks(4)), engine)
    assert {inputs.past[0].shape[2] for inputs in engine.seen if inputs.past} == {7}
    engine = Recorder()
    run_cached(begin_cached([[1, 2, 3]], 8, OnePerStep(), Prefix(), Blocks(4)), engine)
    assert [i.past[0].shape[2] for i in engine.seen if i.past] == [3, 3, 3, 7, 7, 7]
