"""Memory for keys goes from batch to batch, is never in two places, and is given up at close."""

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawn_runtime import Decoder, EngineError, EngineInfo
from dawn_runtime.cuda import CudaDevice, DeviceKv, KeptBlocks
from dawn_runtime.cuda.kv import KvBlocks
from dawn_runtime.decoding import KvStore
from dawn_runtime.engine.fake import FakeEngine, HashModel
from support.decoding import DAWN, MANIFEST
from support.device_engine import HostEngine
from support.fake_driver import FakeDriver
from support.host_device import HostDevice, get, put

INFO = EngineInfo("test", 3, 2, 4, 32, 96, "float32")


def places(memory: DeviceKv) -> set[int]:
    blocks = memory._blocks
    return {a.pointer for a in (blocks.memory, blocks.indices, blocks.places, blocks.sources)}


def test_the_next_batch_gets_what_the_last_one_had(driver: FakeDriver) -> None:
    device = CudaDevice(driver=driver)
    kept = KeptBlocks(device, INFO)
    first = kept.take(40)
    there = places(first)
    assert kept.nbytes == 0
    del first
    assert kept.nbytes > 0
    allocated = driver.calls.count("cuMemAlloc")
    again = kept.take(33)
    assert places(again) == there
    assert driver.calls.count("cuMemAlloc") == allocated
    assert "cuMemFree" not in driver.calls
    del again
    kept.close()
    assert not driver.memory
    device.close()


@pytest.mark.parametrize(("wanted", "fits"), [(40, True), (41, False), (1, True)])
def test_room_must_be_enough(wanted: int, fits: bool, host: HostDevice) -> None:
    kept = KeptBlocks(host, INFO)
    there = places(kept.take(40))
    assert (places(kept.take(wanted)) == there) == fits


def test_very_much_more_room_than_is_wanted_stays_for_others(host: HostDevice) -> None:
    kept = KeptBlocks(host, INFO)
    large = kept.take(1000)
    there = places(large)
    del large
    few = kept.take(371)
    assert not places(few) & there
    assert places(kept.take(372)) == there


def test_the_smallest_that_fits_is_taken(host: HostDevice) -> None:
    kept = KeptBlocks(host, INFO)
    sizes = {tokens: kept.take(tokens) for tokens in (60, 30, 50)}
    there = {tokens: places(memory) for tokens, memory in sizes.items()}
    sizes.clear()
    assert places(kept.take(31)) == there[50]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 60)), max_size=40))
def test_no_memory_is_in_two_places_and_what_is_kept_is_bounded(
    moves: list[tuple[int, int]],
) -> None:
    bound = 3 * KvBlocks.allocate(HostDevice({}), INFO, 30).nbytes
    kept = KeptBlocks(HostDevice({}), INFO, bound)
    live: dict[int, DeviceKv] = {}
    for name, tokens in moves:
        if live.pop(name, None) is None:
            live[name] = kept.take(tokens)
            assert live[name]._blocks.tokens >= tokens
        found = [place for memory in live.values() for place in places(memory)]
        assert len(found) == len(set(found))
        assert kept.nbytes <= bound


def test_what_is_larger_than_the_bound_is_given_up(driver: FakeDriver) -> None:
    device = CudaDevice(driver=driver)
    small = KvBlocks.allocate(device, INFO, 10).nbytes
    kept = KeptBlocks(device, INFO, small)
    few, many = kept.take(10), kept.take(40)
    del few
    assert kept.nbytes == small
    del many
    assert kept.nbytes == small, "the small one is there still"
    assert len(driver.memory) == 4
    device.close()


def test_what_is_kept_makes_way_where_memory_is_short(driver: FakeDriver) -> None:
    device = CudaDevice(driver=driver)
    kept = KeptBlocks(device, INFO)
    kept.take(10)
    assert kept.nbytes > 0
    driver.failing["cuMemAlloc"] = "CUDA_ERROR_OUT_OF_MEMORY"
    with pytest.raises(EngineError, match="OUT_OF_MEMORY"):
        kept.take(40)
    assert not driver.memory
    driver.failing.clear()
    kept.take(40)
    device.close()


def test_what_comes_back_after_close_is_freed(driver: FakeDriver) -> None:
    device = CudaDevice(driver=driver)
    kept = KeptBlocks(device, INFO)
    late = kept.take(10)
    kept.close()
    assert driver.memory
    del late
    assert kept.nbytes == 0
    assert not driver.memory
    device.close()


def test_a_memory_that_was_used_serves_as_a_new_one_does(host: HostDevice) -> None:
    kept, rng = KeptBlocks(host, INFO), np.random.default_rng(0)
    for tokens, rows, slots in ((48, 4, 12), (30, 3, 9), (44, 2, 22)):
        there, here = kept.take(tokens), KvStore(INFO, tokens)
        shape = (rows, INFO.kv_heads, slots, INFO.head_dim)
        fed = [rng.normal(size=shape).astype(np.float32) for _ in range(2 * INFO.layers)]
        copies, chosen = [put(host, array) for array in fed], np.arange(slots)
        for memory, present in ((there, copies), (here, fed)):
            memory.arrange(dict.fromkeys(range(rows), slots), range(rows))  # type: ignore[attr-defined]
            for row in range(rows):
                memory.write(row, chosen, present, row, chosen)  # type: ignore[attr-defined]
        for wanted in (range(rows), [rows - 1, 0]):
            for one, other in zip(here.read(wanted), there.read(wanted), strict=True):
                np.testing.assert_array_equal(one, get(host, other))
        there.arrange({1: slots}, [])  # which swaps its two memories
        del there


def test_answers_are_the_same_one_after_the_other_and_memory_is_got_once(
    driver: FakeDriver,
) -> None:
    device = CudaDevice(driver=driver)
    fake = FakeEngine(MANIFEST, HashModel(32, 4))
    decoder, plain = Decoder(MANIFEST, HostEngine(fake, device)), Decoder(MANIFEST, fake)
    got = []
    for prompt in ([1, 2, 3], [4], [5, 6, 7], [8, 9, 3]):
        settings = {"max_new_tokens": 40, "cache": "dual", "policy": "dawn"}
        found, expected = (
            one.generate(input_ids=prompt, options=DAWN.options(), **settings)  # type: ignore[arg-type]
            for one in (decoder, plain)
        )
        assert found.trace == expected.trace
        got.append(driver.calls.count("cuMemAlloc"))
    assert got[1] == got[2] == got[3]
    del decoder
    gc.collect()
    device.close()
    assert not driver.memory
