"""Memory for keys and values on a device: how much there is, and that nothing is overwritten."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dawn_runtime import EngineInfo
from dawn_runtime.cuda import DeviceArray, DeviceKv, PresentMemory
from dawn_runtime.decoding import kv_bytes
from dawn_runtime.machine.memory import gpu_copies
from support.host_device import HostDevice

INFO = EngineInfo("test", 3, 2, 4, 32, 96, "float16")
PARTS = 6


def ends(arrays: tuple[DeviceArray, ...]) -> list[tuple[int, int]]:
    return [(array.pointer, array.pointer + array.nbytes) for array in arrays]


@given(st.data())
def test_what_a_full_and_a_cached_pass_of_one_step_return_never_meets(data: st.DataObject) -> None:
    batch, length = data.draw(st.integers(2, 5)), data.draw(st.integers(1, 40))
    full = data.draw(st.integers(1, batch - 1))
    memory = PresentMemory(HostDevice({}), INFO, batch * length)
    fed = data.draw(st.integers(1, length))
    arrays = (
        memory.arrays(full, length, cached=False),
        memory.arrays(batch - full, fed, cached=True),
    )
    places = sorted([*ends(arrays[0]), *ends(arrays[1])])
    assert len(places) == 2 * PARTS
    assert all(end <= begin for (_, end), (begin, _) in pairwise(places))
    assert places[-1][1] - places[0][0] <= memory.nbytes
    assert all(
        (array.pointer - arrays[0][0].pointer) % 256 == 0 for both in arrays for array in both
    )
    assert arrays[0][0].shape == (full, 2, length, 4)


def test_equal_runs_have_equal_addresses() -> None:
    memory = PresentMemory(HostDevice({}), INFO, 24)
    first, again = (memory.arrays(2, 7, cached=True) for _ in range(2))
    memory.arrays(1, 3, cached=True)
    assert ends(first) == ends(again)


@given(st.integers(1, 1200))
def test_a_gpu_holds_keys_and_values_as_often_as_is_said(tokens: int) -> None:
    device, expected = HostDevice({}), kv_bytes(INFO, tokens)
    present, kept = PresentMemory(device, INFO, tokens), DeviceKv(device, INFO, tokens)
    rounding = PARTS * 512
    assert expected <= present.nbytes <= expected + rounding
    assert expected <= kept.nbytes <= expected + rounding
    total = gpu_copies(1) * expected
    assert total <= present.nbytes + kept.nbytes <= total + 2 * rounding


def test_rows_that_part_ways_take_a_third_memory(host: HostDevice) -> None:
    kept = DeviceKv(host, INFO, 60)
    kept.arrange({0: 20, 1: 20}, [0, 1])
    before = kept.nbytes
    kept.read([0, 1])
    assert kept.nbytes == before, "all of them are read where they are"
    kept.read([1])
    assert kept.nbytes == 2 * before == (gpu_copies(2) - 1) * before
    kept.arrange({1: 20}, [])
    assert kept.nbytes == 2 * before, "it is used again"
    kept.arrange({}, [])
    assert kept.rows == ()
