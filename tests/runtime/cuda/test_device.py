"""The GPU as a device: memory, errors and closing, behind a driver that is none; its kernels."""

import gc
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_runtime.cuda import KERNELS, CudaDevice, DeviceArray, cubin
from dawn_runtime.cuda.kernels import source
from dawn_runtime.cuda.pool import Pool
from dawn_runtime.errors import EngineError
from support.fake_driver import FakeDriver
from support.host_device import get, put

CAPABILITIES = [(8, 7), (9, 0), (11, 0)]


@pytest.fixture
def device(driver: FakeDriver) -> CudaDevice:
    return CudaDevice(driver=driver)


def test_a_device_says_what_it_is(device: CudaDevice) -> None:
    assert (device.kind, device.capability, device.cuda_version) == ("cuda", (8, 7), (12, 6))


def test_free_and_total_memory_are_those_of_the_driver(device: CudaDevice) -> None:
    assert device.memory() == (1 << 30, 1 << 33)


def test_memory_is_zeroed_and_copies_come_back(device: CudaDevice) -> None:
    assert get(device, device.allocate((3, 2), "float32")).tolist() == [[0, 0]] * 3
    array = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(get(device, put(device, array)), array)
    pinned = device.host_array((2, 3), "int64")
    device.download(pinned, put(device, array))
    np.testing.assert_array_equal(pinned, array)


def test_memory_is_freed_when_nobody_uses_it(device: CudaDevice, driver: FakeDriver) -> None:
    array = device.allocate((4,), "int64")
    view, pinned = array.view((2,), skip=1), device.host_array((4,), "int32")
    part = pinned[1:]
    del array, pinned
    gc.collect()
    assert len(driver.memory) == 2, "parts keep the whole"
    assert part.tolist() == [0, 0, 0]
    del view, part
    gc.collect()
    assert driver.memory == {}


def test_closing_frees_everything_once(device: CudaDevice, driver: FakeDriver) -> None:
    kept: list[Any] = [device.allocate((4,), "int64"), device.allocate((0,), "float32")]
    kept.append(device.record(lambda: None))
    device.close()
    device.close()
    assert driver.memory == {}
    assert driver.calls.count("cuGraphExecDestroy") == 1
    loaded = driver.calls.count("cuModuleLoadData")
    assert driver.calls.count("cuModuleUnload") == loaded == len(set(KERNELS.values()))
    assert driver.calls.count("cuStreamDestroy") == 1
    assert driver.calls.count("cuDevicePrimaryCtxRelease") == 1
    with pytest.raises(EngineError, match="cuda: the device is closed; open the artifact again"):
        device.allocate((1,), "int64")
    del kept
    gc.collect()
    assert driver.calls.count("cuGraphExecDestroy") == 1


def test_a_hundred_devices_leave_nothing_behind(driver: FakeDriver) -> None:
    for _ in range(100):
        one = CudaDevice(driver=driver)
        put(one, np.zeros(8))
        one.record(lambda: None)()
        one.close()
    assert driver.memory == {}
    for made, gone in [
        ("cuStreamCreate", "cuStreamDestroy"),
        ("cuEventCreate", "cuEventDestroy"),
        ("cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease"),
        ("cuStreamEndCapture", "cuGraphDestroy"),
    ]:
        assert driver.calls.count(made) == driver.calls.count(gone) >= 100, made


@pytest.mark.parametrize(
    ("function", "result", "hint"),
    [
        ("cuMemAlloc", "CUDA_ERROR_OUT_OF_MEMORY", "use a shorter answer, a smaller batch or a l"),
        ("cuStreamSynchronize", "CUDA_ERROR_ILLEGAL_ADDRESS", "if the device is lost, open it ag"),
        *(
            ("cuModuleLoadData", f"CUDA_ERROR_{name}", "pip install 'nvidia-cuda-nvrtc-cu12==12.6")
            for name in ("NO_BINARY_FOR_GPU", "INVALID_IMAGE", "UNSUPPORTED_PTX_VERSION")
        ),
    ],
)
def test_what_the_driver_refuses_is_one_line_with_a_hint(
    function: str, result: str, hint: str, device: CudaDevice, driver: FakeDriver
) -> None:
    driver.failing[function] = result

    def use() -> None:
        array = device.allocate((1,), "int64")
        device.synchronize()
        device.launch("kv_write", (1, 1), 1, (array,))

    with pytest.raises(EngineError, match=f"cuda: {function} fails with {result}; .*{hint}"):
        use()
    driver.failing.clear()
    device.close()


@pytest.mark.parametrize(
    ("nvrtc", "driver_version", "advice"),
    [
        ((13, 5), 12060, "pip install 'nvidia-cuda-nvrtc-cu12==12.6.*' 'cuda-python>=12.9,<13'"),
        ((13, 0), 12090, "pip install 'nvidia-cuda-nvrtc-cu12==12.9.*'"),
        ((14, 0), 13020, "pip install 'nvidia-cuda-nvrtc==13.2.*' 'cuda-python>=13,<14'"),
        ((12, 6), 12060, ""),
        ((12, 9), 12060, ""),  # one GPU's code of the same major loads
        ((12, 9), 13000, ""),
        ((13, 5), 13000, ""),
    ],
)
def test_an_nvrtc_of_a_newer_major_than_the_driver_is_refused_when_the_device_is_opened(
    nvrtc: tuple[int, int],
    driver_version: int,
    advice: str,
    driver: FakeDriver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dawn_runtime.cuda.gpu.nvrtc_version", lambda: nvrtc)
    driver.version = driver_version
    if not advice:
        CudaDevice(driver=driver).close()
        return
    with pytest.raises(EngineError) as caught:
        CudaDevice(driver=driver)
    message = str(caught.value)
    assert f"cuda: NVRTC is of CUDA {nvrtc[0]}.{nvrtc[1]}, the driver runs CUDA up to" in message
    assert advice in message
    assert "\n" not in message
    assert "cuDevicePrimaryCtxRetain" not in driver.calls, "nothing is held"


def test_kernels_of_another_nvrtc_are_not_taken_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    for version in ((12, 6), (13, 0)):
        monkeypatch.setattr("dawn_runtime.cuda.kernels.nvrtc_version", lambda v=version: v)
        cubin("kv", (8, 7), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_lost_device_is_closed_and_another_opened(device: CudaDevice, driver: FakeDriver) -> None:
    for name in ("cuMemFree", "cuStreamDestroy", "cuEventDestroy", "cuStreamSynchronize"):
        driver.failing[name] = "CUDA_ERROR_ILLEGAL_ADDRESS"
    array = device.allocate((1,), "int64")
    with pytest.raises(EngineError, match="CUDA_ERROR_ILLEGAL_ADDRESS"):
        device.synchronize()
    device.close()
    driver.failing.clear()
    assert get(CudaDevice(driver=driver), put(CudaDevice(driver=driver), np.ones(2))).tolist()
    del array


def test_a_copy_of_another_size_is_refused(device: CudaDevice) -> None:
    with pytest.raises(EngineError, match=r"a copy of int64 \(3,\) and int64 \(2,\) would move 24"):
        device.upload(device.allocate((2,), "int64"), np.arange(3))


def test_the_context_is_made_current_in_every_thread(
    device: CudaDevice, driver: FakeDriver
) -> None:
    before = driver.calls.count("cuCtxSetCurrent")
    worker = threading.Thread(target=device.synchronize)
    worker.start()
    worker.join()
    device.synchronize()
    assert driver.calls.count("cuCtxSetCurrent") == before + 1


def test_recorded_work_runs_when_it_is_repeated_and_not_before(
    device: CudaDevice, driver: FakeDriver
) -> None:
    source_array, found = put(device, np.array([3])), device.host_array((1,), "int64")
    repeat = device.record(lambda: device.download(found, source_array))
    assert found.tolist() == [0]
    repeat()
    assert found.tolist() == [3]
    device.upload(source_array, np.array([4]))
    repeat()
    assert found.tolist() == [4]
    del repeat
    gc.collect()
    assert driver.calls.count("cuGraphExecDestroy") == 1


class Cycle:
    """Garbage that only the collector finds."""

    def __init__(self, device: CudaDevice, *, recorded: bool = False) -> None:
        self.me, self.memory = self, device.allocate((100,), "float32")
        self.graph = device.record(lambda: None) if recorded else None


def test_garbage_that_is_collected_while_a_graph_is_recorded_is_freed_afterwards(
    device: CudaDevice, driver: FakeDriver
) -> None:
    source_array, found = put(device, np.array([3])), device.host_array((1,), "int64")
    Cycle(device, recorded=True)
    assert len(driver.memory) == 3

    def work() -> None:
        device.download(found, source_array)
        gc.collect()
        assert len(driver.memory) == 3, "nothing is freed here"

    repeat = device.record(work)
    assert len(driver.memory) == 2
    assert driver.calls.count("cuGraphExecDestroy") == 1
    repeat()
    assert found.tolist() == [3]


def test_what_goes_wrong_while_recording_is_told_and_the_stream_is_as_before(
    device: CudaDevice, driver: FakeDriver
) -> None:
    found = device.host_array((1,), "int64")

    def work() -> None:
        driver._spoilt = True
        raise KeyError("first")

    with pytest.raises(KeyError, match="first"):
        device.record(work)
    seven = put(device, np.array([7]))
    device.record(lambda: device.download(found, seven))()
    assert found.tolist() == [7]
    driver.failing["cuGraphInstantiate"] = "CUDA_ERROR_OUT_OF_MEMORY"
    with pytest.raises(EngineError, match="cuGraphInstantiate"):
        device.record(lambda: None)
    assert driver.calls.count("cuGraphDestroy") == 2


@pytest.mark.parametrize("how", ["dropped", "closed"])
def test_a_thread_that_never_used_the_device_frees_and_closes_it(
    how: str, driver: FakeDriver
) -> None:
    made: list[Any] = []

    def open_and_allocate() -> None:
        one = CudaDevice(driver=driver)
        made.extend([one, [one.allocate((9,), "float32") for _ in range(5)]])
        made.append([one.host_array((4,), "int32"), one.record(lambda: None)])

    worker = threading.Thread(target=open_and_allocate)
    worker.start()
    worker.join()
    if how == "closed":
        made[0].close()
    else:
        del made[1:]
        gc.collect()
    assert driver.memory == {}


def test_copies_of_nothing_do_not_reach_the_driver(device: CudaDevice, driver: FakeDriver) -> None:
    empty = put(device, np.zeros((0, 3), dtype=np.int64))
    device.download(np.zeros((0, 3), dtype=np.int64), empty)
    assert not {"cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync"} & set(driver.calls)


def test_what_was_uploaded_may_change_or_go_at_once(device: CudaDevice, driver: FakeDriver) -> None:
    driver.late = True
    array = np.arange(4)
    targets = [device.allocate((4,), "int64") for _ in range(3)]
    device.upload(targets[0], array)
    array[:] = 9
    device.upload(targets[1], np.arange(4) + 1)
    device.upload(targets[2], np.arange(8, dtype=np.int32)[::2])
    gc.collect()
    junk = [np.full(4, 77) for _ in range(50)]
    device.synchronize()
    assert [get(device, target).tolist() for target in targets] == [
        [0, 1, 2, 3],
        [1, 2, 3, 4],
        [0, 2, 4, 6],
    ]
    assert len(junk) == 50
    assert device._sources == [], "kept no longer than needed"


def test_pinned_memory_is_copied_by_the_device_alone(
    device: CudaDevice, driver: FakeDriver
) -> None:
    pinned = device.host_array((4,), "int64")
    device.upload(device.allocate((2,), "int64"), pinned[2:])
    assert device._sources == []


def test_nobody_else_works_on_the_stream_while_a_graph_is_recorded(
    device: CudaDevice, driver: FakeDriver
) -> None:
    found, three = device.host_array((1,), "int64"), put(device, np.array([3]))
    target, started = device.allocate((1,), "int64"), threading.Event()

    def interfere() -> None:
        started.wait()
        device.upload(target, np.array([5]))  # the fake refuses it while capturing

    worker = threading.Thread(target=interfere)
    worker.start()

    def work() -> None:
        started.set()
        worker.join(0.05)
        device.download(found, three)

    repeat = device.record(work)
    worker.join()
    assert get(device, target).tolist() == [5]
    repeat()
    assert found.tolist() == [3]


def test_a_pool_keeps_addresses_until_more_is_wanted(device: CudaDevice) -> None:
    pool = Pool(device)
    first = pool.get("a", (4, 2), "float32")
    assert pool.get("a", (2, 3), "float32").pointer == first.pointer
    assert pool.get("b", (4, 2), "float32").pointer != first.pointer
    assert pool.get("a", (9,), "float32").shape == (9,)


def test_a_view_beyond_the_end_is_refused() -> None:
    with pytest.raises(EngineError, match=r"\(2, 2\) behind 3 elements needs 7 of them"):
        DeviceArray(64, (6,), "int32").view((2, 2), skip=3)
    assert DeviceArray(64, (6,), "bfloat16").view((2,), skip=3).pointer == 70


@pytest.mark.parametrize("capability", CAPABILITIES, ids=str)
@pytest.mark.parametrize("file", sorted(set(KERNELS.values())))
def test_kernels_compile_for_the_gpus_of_boards_and_datacenters(
    file: str, capability: tuple[int, int], tmp_path: Path
) -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    image = cubin(file, capability, tmp_path)
    assert image[:4] == b"\x7fELF"
    for name, other in KERNELS.items():
        assert (name.encode() in image) == (other == file)
    (cached,) = tmp_path.iterdir()
    cached.write_bytes(b"from the cache")
    assert cubin(file, capability, tmp_path) == b"from the cache"


def test_a_kernel_that_does_not_compile_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    monkeypatch.setattr("dawn_runtime.cuda.kernels.source", lambda _: b"this is no program")
    with pytest.raises(EngineError, match=r"NVRTC cannot compile kv\.cu for sm_90: ") as caught:
        cubin("kv", (9, 0), tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_every_kernel_is_where_it_is_looked_for() -> None:
    for name, file in KERNELS.items():
        assert f'extern "C" __global__ void {name}('.encode() in source(file)


def test_a_grid_that_no_gpu_has_is_refused_in_words(device: CudaDevice) -> None:
    with pytest.raises(EngineError, match=r"kv_gather would take 65536 blocks .* fewer rows at on"):
        device.launch("kv_gather", (1, 65536), 32, ())
