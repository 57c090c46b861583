"""Keys on a device move as they do in NumPy, and decoding with a cache decides the same."""

import numpy as np
import pytest

from dawn_runtime import Decoder, EngineError, EngineInfo
from dawn_runtime.cuda import Device, DeviceArray, DeviceKv
from dawn_runtime.decoding import KvStore
from dawn_runtime.engine.fake import FakeEngine, HashModel
from support.decoding import DAWN, MANIFEST
from support.device_engine import HostEngine
from support.host_device import HostDevice, get, put

LENGTH = 12


class Twins:
    """The same operations on both memories."""

    def __init__(self, host: Device, dtype: str, batch: int, seed: int) -> None:
        self.info = EngineInfo("test", 3, 2, 4, 32, 96, dtype)
        self.host, self.rng = host, np.random.default_rng(seed)
        self.here = KvStore(self.info, batch, LENGTH)
        self.there = DeviceKv(host, self.info, batch, LENGTH)
        self.written = [0] * batch

    def fill(self, rows: list[int], slots: int) -> None:
        fed = int(self.rng.integers(slots, 2 * slots + 1))
        shape = (len(rows), self.info.kv_heads, fed, self.info.head_dim)
        present = [
            self.rng.normal(size=shape).astype(self.info.kv_dtype)
            for _ in range(2 * self.info.layers)
        ]
        copies = [put(self.host, array) for array in present]
        for index, row in enumerate(rows):
            targets = self.rng.permutation(slots)
            chosen = self.rng.permutation(fed)[:slots]
            self.written[row] = slots
            self.here.write(row, targets, present, index, chosen)
            self.there.write(row, targets, copies, index, chosen)

    def reserve(self, slots: int, rewritten: list[int]) -> None:
        self.here.reserve(slots, rewritten)
        self.there.reserve(slots, rewritten)

    def retain(self, rows: tuple[int, ...]) -> None:
        self.here.retain(rows)
        self.there.retain(rows)

    def compare(self, rows: list[int]) -> None:
        assert (self.here.rows, self.here.slots) == (self.there.rows, self.there.slots)
        for one, other in zip(self.here.read(rows), self.there.read(rows), strict=True):
            assert one.shape == other.shape
            copy = get(self.host, other)
            assert np.isfinite(copy).all()
            for place, row in enumerate(rows):
                here = (place, slice(None), slice(self.written[row]))
                np.testing.assert_array_equal(one[here], copy[here])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("seed", range(5))
def test_keys_on_a_device_are_those_in_numpy(seed: int, dtype: str, any_device: Device) -> None:
    twins = Twins(any_device, dtype, 4, seed)
    twins.reserve(5, [0, 1, 2, 3])
    twins.fill([0, 1, 2, 3], 5)
    twins.compare([0, 1, 2, 3])
    twins.compare([3, 1])
    twins.retain((1, 2, 3))
    twins.compare([1, 2, 3])
    twins.reserve(9, [2])
    twins.fill([2], 9)
    twins.compare([1, 2, 3])
    twins.compare([2])
    twins.retain((2, 3))
    twins.reserve(7, [2, 3])
    twins.fill([2, 3], 7)
    twins.compare([2, 3])


def test_one_row_is_read_without_a_copy_and_moved_by_one_kernel(host: HostDevice) -> None:
    twins = Twins(host, "float32", 1, 0)
    twins.reserve(5, [0])
    host.launched.clear()
    twins.fill([0], 5)
    assert host.launched == ["kv_write"]
    first, second = twins.there.read([0]), twins.there.read([0])
    assert [array.pointer for array in first] == [array.pointer for array in second]
    assert host.launched == ["kv_write"]


def test_keys_of_two_bytes_need_no_type_of_numpy(host: HostDevice) -> None:
    info = EngineInfo("test", 1, 1, 2, 32, 96, "bfloat16")
    memory = DeviceKv(host, info, 1, 4)
    memory.reserve(3, [0])
    fed = put(host, np.arange(6, dtype=np.uint16).reshape(1, 1, 3, 2))
    memory.write(0, np.array([2, 0]), [fed, fed], 0, np.array([0, 1]))
    key, _ = memory.read([0])
    words = DeviceArray(key.pointer, key.shape, "uint16", key.owner)
    assert get(host, words)[0, 0].tolist() == [[2, 3], [0, 0], [0, 1]]


def test_heads_of_an_odd_number_of_bytes_are_refused(host: HostDevice) -> None:
    info = EngineInfo("test", 1, 1, 3, 32, 96, "float16")
    with pytest.raises(EngineError, match="a head is 3 float16 = 6 bytes wide; expected a mult"):
        DeviceKv(host, info, 1, 4)


@pytest.mark.parametrize("cache", ["dual", "prefix", "dual:refresh=3"])
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
    assert set(engine.residents) == {True}
