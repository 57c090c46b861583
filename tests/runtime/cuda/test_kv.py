"""Keys on a device move as they do in NumPy, and decoding with a cache decides the same."""

from dataclasses import replace

import numpy as np
import pytest

from dawn_runtime import Decoder, EngineError, EngineInfo
from dawn_runtime.cuda import Device, DeviceArray, DeviceKv
from dawn_runtime.decoding import KvStore
from dawn_runtime.engine.fake import FakeEngine, HashModel
from support.decoding import DAWN, MANIFEST
from support.device_engine import HostEngine
from support.host_device import HostDevice, get, put
from support.twins import Twins, come_and_go


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("seed", range(5))
def test_keys_on_a_device_are_those_in_numpy(seed: int, dtype: str, any_device: Device) -> None:
    twins = Twins(any_device, dtype, seed)
    twins.arrange(dict.fromkeys([0, 1, 2, 3], 5), [0, 1, 2, 3])
    twins.fill([0, 1, 2, 3], 5)
    twins.compare([0, 1, 2, 3])
    twins.compare([3, 1])
    twins.compare([2, 2, 0])
    twins.arrange({1: 5, 2: 5, 3: 5}, [])
    twins.compare([1, 2, 3])
    twins.arrange({1: 5, 2: 9, 3: 5, 7: 4}, [2])
    twins.fill([2], 9)
    twins.fill([7], 4)
    twins.compare([1, 2, 3, 7])
    twins.compare([2])
    twins.arrange({2: 7, 3: 7}, [2, 3])
    twins.fill([2, 3], 7)
    twins.compare([2, 3])


@pytest.mark.parametrize("seed", range(10))
def test_rows_come_and_go_as_they_do_in_numpy(seed: int, any_device: Device) -> None:
    come_and_go(any_device, seed)


def test_a_row_that_takes_the_place_of_another_moves_nothing(any_device: Device) -> None:
    twins = Twins(any_device, "float32", 0)
    twins.arrange({0: 5}, [0])
    twins.fill([0], 5)
    twins.arrange({1: 6}, [])
    assert twins.there.nbytes == twins.here.nbytes
    twins.fill([1], 6)
    twins.compare([1])


def test_one_row_is_read_without_a_copy_and_moved_by_one_kernel(host: HostDevice) -> None:
    twins = Twins(host, "float32", 0)
    twins.arrange({0: 5}, [0])
    host.launched.clear()
    twins.fill([0], 5)
    assert host.launched == ["kv_write"]
    first, second = twins.there.read([0]), twins.there.read([0])
    assert [array.pointer for array in first] == [array.pointer for array in second]
    assert host.launched == ["kv_write"]


def test_more_than_there_is_room_for_is_refused_on_both(host: HostDevice) -> None:
    twins = Twins(host, "float32", 0, tokens=12)
    twins.arrange({0: 5, 1: 6}, [0, 1])
    for memory in (twins.here, twins.there):
        with pytest.raises(EngineError, match="3 rows with 6 slots each need room for 18 tokens"):
            memory.arrange({0: 5, 1: 6, 2: 1}, [2])
        assert (memory.rows, memory.slots) == ((0, 1), 6)
    with pytest.raises(EngineError, match="3 rows with 6 slots each are 18 tokens; there is room"):
        twins.there.read([0, 1, 1])


def test_keys_of_two_bytes_need_no_type_of_numpy(host: HostDevice) -> None:
    info = EngineInfo("test", 1, 1, 2, 32, 96, "bfloat16")
    memory = DeviceKv(host, info, 4)
    memory.arrange({0: 3}, [0])
    fed = put(host, np.arange(6, dtype=np.uint16).reshape(1, 1, 3, 2))
    memory.write(0, np.array([2, 0]), [fed, fed], 0, np.array([0, 1]))
    key, _ = memory.read([0])
    words = DeviceArray(key.pointer, key.shape, "uint16", key.owner)
    assert get(host, words)[0, 0].tolist() == [[2, 3], [0, 0], [0, 1]]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_slots_of_a_row_go_to_the_host_and_into_another_row(dtype: str, any_device: Device) -> None:
    words = {"bfloat16": "uint16"}.get(dtype, dtype)
    info = EngineInfo("test", 3, 2, 4, 32, 96, dtype)
    first, other = DeviceKv(any_device, info, 40), DeviceKv(any_device, info, 40)
    here = KvStore(replace(info, kv_dtype=words), 40)
    fed = [np.arange(40).reshape(1, 2, 5, 4).astype(words) + 40 * part for part in range(6)]
    chosen, slots = np.arange(5), np.array([3, 0, 4])
    copies = [put(any_device, array) for array in fed]
    for memory, source in ((first, copies), (here, fed)):
        memory.arrange({7: 5, 8: 5}, [7, 8])  # type: ignore[attr-defined]
        memory.write(8, chosen, source, 0, chosen)  # type: ignore[attr-defined]
    saved = first.save(8, slots)
    expected = here.save(8, slots)
    assert [array.view(words).tolist() for array in saved] == [a.tolist() for a in expected]
    first.arrange({}, [])
    for memory, kept in ((other, saved), (here, expected)):
        memory.arrange({1: 4, 2: 6}, [1, 2])  # type: ignore[attr-defined]
        memory.restore(2, kept, 2)  # type: ignore[attr-defined]
    for array, wanted in zip(other.read([2]), here.read([2]), strict=True):
        found = get(any_device, DeviceArray(array.pointer, array.shape, words, array.owner))
        np.testing.assert_array_equal(found[0, :, :2], wanted[0, :, :2])


def test_heads_of_an_odd_number_of_bytes_are_refused(host: HostDevice) -> None:
    info = EngineInfo("test", 1, 1, 3, 32, 96, "float16")
    with pytest.raises(EngineError, match="a head is 3 float16 = 6 bytes wide; expected a mult"):
        DeviceKv(host, info, 4)


@pytest.mark.parametrize("cache", ["dual", "prefix", "dual:refresh=3", "dual:feed=undecided"])
def test_decoding_with_keys_on_a_device_decides_the_same(cache: str, host: HostDevice) -> None:
    fake = FakeEngine(MANIFEST, HashModel(32, 4))
    engine = HostEngine(fake, host)
    prompts = [np.array([1, 2, 3]), np.array([4]), np.array([5, 6, 7, 8, 9])]
    found = [
        Decoder(MANIFEST, one).generate_batch(
            prompts, max_new_tokens=40, policy="dawn", options=DAWN.options(), cache=cache
        )
        for one in (engine, fake)
    ]
    assert [result.trace for result in found[0]] == [result.trace for result in found[1]]
    runs = [*engine.runs, *engine.others]
    assert {inputs.resident for inputs in runs} == {True}
    assert any(inputs.past for inputs in engine.runs), "cached steps are chosen there too"
