"""A batch next to an engine decides what a batch in NumPy decides, and evidence stays there."""

import gc
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from dawn_runtime import (
    Blocks,
    Dapd,
    Decoder,
    EngineError,
    NoCache,
    Policy,
    Pruned,
    RowView,
    Single,
    Sliding,
    Threshold,
)
from dawn_runtime.cuda import CudaDevice, Device, DeviceKv
from dawn_runtime.cuda.pool import Pool
from dawn_runtime.decoding import Batch, Cache, Packer, Padding, Sampling, Scheme, Unmask, Window
from dawn_runtime.decoding.caches import Dual, Prefix
from dawn_runtime.decoding.device_batch import DeviceBatch
from dawn_runtime.decoding.schemes import FreeDave, Wino
from dawn_runtime.engine.fake import FakeEngine, FakeModel, HashModel
from dawn_runtime.errors import BatchFullError
from dawn_runtime.generation import open_batch
from dawn_runtime.manifest import Manifest
from dawn_runtime.policies import Apart, Budget, Kernel
from support.decoding import DAWN, MANIFEST, MASK, OLDER, POLICIES, SCALED, begin, same_row
from support.device_engine import SPARE, HostEngine
from support.fake_driver import FakeDriver
from support.host_device import HostDevice

PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10], [3, 3]]
COUNTS = [20, 9, 33, 24]
KINDS = {
    "none": NoCache(),
    "prefix": Prefix(),
    "dual": Dual(),
    "dual, three commits": Dual(3),
    "prefix, never": Prefix("never"),
    "dual, undecided": Dual(feed="undecided", head="candidates"),
}
SAMPLED = Sampling(temperature=0.7, seed=5)


def batches(
    device: Device,
    model: FakeModel,
    padding: Padding = "right",
    *,
    rows: int = 4,
    manifest: Manifest = OLDER,
) -> tuple[DeviceBatch, Batch, HostEngine]:
    """An empty batch next to an engine on a device, and one in NumPy over the same model."""
    fake = FakeEngine(manifest, model)
    engine = HostEngine(fake, device)
    packer = replace(Packer.for_engine(0, fake.describe()), padding=padding)
    bounds = {"max_rows": rows, "max_tokens": rows * 44}
    there = open_batch(engine, packer, **bounds)
    assert isinstance(there, DeviceBatch)
    here = open_batch(fake, packer, **bounds)
    assert type(here) is Batch
    return there, here, engine


def step(there: Batch, here: Batch) -> None:
    """A step of both, after which all rows are equal to the last bit."""
    assert there.active == here.active
    assert there.step() == here.step()
    for left, right in zip(there.rows.values(), here.rows.values(), strict=True):
        assert same_row(left, right)
        assert (left.fed, left.finished, left.final) == (right.fed, right.finished, right.final)


def decode(
    device: Device,
    schemes: list[Scheme],
    seed: int = 0,
    model: FakeModel | None = None,
    padding: Padding = "right",
    **how: Any,
) -> tuple[DeviceBatch, Batch, HostEngine]:
    """The same rows in both batches, from beginning to end."""
    there, here, engine = batches(device, model or HashModel(32, seed), padding)
    for row, scheme in zip(begin(PROMPTS, COUNTS, **how), schemes, strict=True):
        assert there.admit(row, scheme) == here.admit(row, scheme)
    while here.active:
        step(there, here)
    return there, here, engine


@pytest.mark.parametrize("cache", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(("shift", "end"), [(0, False), (1, True)])
@pytest.mark.parametrize(
    "window", [Blocks(8), Single(), Sliding(6), Sliding(6, "fixed"), Pruned(8, 4)], ids=str
)
@pytest.mark.parametrize("policy", [DAWN, SCALED, Threshold(0.6)], ids=lambda p: p.name)
def test_rows_on_a_device_end_as_they_do_in_numpy(
    policy: Policy, window: Window, shift: int, end: bool, cache: Cache, host: HostDevice
) -> None:
    seed = 3 * shift + len(cache.name)
    padding: Padding = "left" if end else "right"
    schemes: list[Scheme] = [Unmask(policy, window, cache)] * 4
    _, _, engine = decode(host, schemes, seed, shift=shift, end=end, padding=padding)
    assert engine.runs
    assert all(inputs.want_logits for inputs in engine.others), "only where all rows are stuck"


@pytest.mark.parametrize("policy", [DAWN, Threshold(0.6)], ids=lambda p: p.name)
def test_where_a_cache_reads_evidence_the_host_decides(policy: Policy, host: HostDevice) -> None:
    for cache in (Dual("drift", gamma=0.9, feed="undecided"), Dual(track=2)):
        _, _, engine = decode(host, [Unmask(policy, Blocks(8), cache)] * 4, shift=1)
        assert engine.others
        assert not engine.runs


def test_the_same_holds_behind_a_driver(any_device: Device) -> None:
    for seed, cache in enumerate(KINDS.values()):
        decode(any_device, [Unmask(DAWN, Blocks(8), cache)] * 4, seed, shift=seed % 2)


def random_scheme(rng: np.random.Generator, shift: int) -> Scheme:
    if rng.random() < 0.2:
        blocks = Blocks(8)
        return FreeDave(drafts=2, window=blocks) if shift else Wino(window=blocks)
    policy = POLICIES[int(rng.integers(len(POLICIES)))] if rng.random() < 0.4 else DAWN
    cache = list(KINDS.values())[int(rng.integers(len(KINDS)))]
    window: Window = Blocks(8) if rng.random() < 0.7 else Sliding(6)
    guards = (Apart(), Budget(2.0)) if rng.random() < 0.2 else ()
    return Unmask(policy, window, cache, SAMPLED if rng.random() < 0.2 else Sampling(), guards)


@pytest.mark.parametrize("seed", range(40))
def test_requests_of_any_rules_that_join_and_leave_get_the_answers_that_numpy_gives(
    seed: int, host: HostDevice, request: pytest.FixtureRequest
) -> None:
    device = CudaDevice(driver=request.getfixturevalue("driver")) if seed % 4 == 3 else host
    rng = np.random.default_rng(seed)
    manifest, side = (MANIFEST, OLDER)[seed % 3 == 0], "left" if seed % 2 else "right"
    there, here, _ = batches(device, HashModel(32, seed), side, rows=6, manifest=manifest)
    keys: list[int] = []
    for _ in range(25):
        if rng.random() < 0.4:
            (row,) = begin(
                [rng.integers(1, 20, int(rng.integers(1, 12))).tolist()],
                int(rng.integers(1, 32)),
                shift=seed % 2,
            )
            scheme = random_scheme(rng, seed % 2)
            for batch in (there, here):
                with suppress(BatchFullError):
                    joined = batch.admit(row, scheme)
                    keys += [joined] if batch is here else []
        elif keys and rng.random() < 0.2:
            key = keys.pop(int(rng.integers(len(keys))))
            assert same_row(there.leave(key), here.leave(key))
        if here.active:
            step(there, here)
    assert keys or seed


def test_evidence_of_rows_with_a_kernel_never_comes_to_the_host(host: HostDevice) -> None:
    there, _, engine = batches(host, HashModel(32, 1))
    length = 40
    (row,) = begin([[1, 2, 3]], length - 3)
    there.admit(row, Unmask(DAWN, Blocks(8), NoCache()))
    there.step()
    host.copies.clear()
    host.launched.clear()
    there.step()
    assert host.launched == ["key_means", "choose"]
    predictions = engine.runs[-1].logit_rows.shape[1] + SPARE
    candidates = int(there.row(0).masked[3:11].sum()) + len(there.row(0).last_commits())
    # What was chosen, the predictions, and nothing else.
    assert sorted(host.copies) == sorted([4 * (1 + candidates), 4 * predictions, 8 * predictions])


def test_evidence_beside_them_comes_of_the_rows_that_need_it(host: HostDevice) -> None:
    there, _, _ = batches(host, HashModel(32, 1))
    length = 40
    for scheme in (Unmask(DAWN, Blocks(8), NoCache()), Unmask(Dapd(), Blocks(8), NoCache())):
        (row,) = begin([[1, 2, 3]], length - 3)
        there.admit(row, scheme)
    host.copies.clear()
    there.step()
    evidence = [size for size in host.copies if size >= 8 * length * 4]
    assert len(evidence) == 1
    assert evidence[0] < length * length * 4


@pytest.mark.parametrize("cache", [NoCache(), Dual()], ids=lambda c: c.name)
def test_key_means_come_only_from_passes_after_which_they_are_remembered(
    cache: Cache, host: HostDevice
) -> None:
    there, _, engine = batches(host, HashModel(32, 2))
    (row,) = begin([[1, 2, 3]], 29)
    there.admit(row, Unmask(DAWN, Blocks(8), cache))
    means = []
    while there.active:
        host.copies.clear()
        there.step()
        means.append(host.copies[-3] > 4 * 32)  # before tokens and confidence
    full = [not inputs.past for inputs in engine.runs]
    assert means == (full if cache.name == "dual" else [False] * len(full))


def test_only_finished_rows_leave_the_run(host: HostDevice) -> None:
    _, _, engine = decode(host, [Unmask(DAWN, Blocks(8), NoCache())] * 4)
    sizes = [len(inputs.input_ids) for inputs in engine.runs]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (4, 1)


def test_a_run_without_rules_that_have_a_kernel_is_an_ordinary_one(host: HostDevice) -> None:
    _, _, engine = decode(host, [Unmask(Dapd(), Blocks(8), Dual(), SAMPLED)] * 4)
    assert not engine.runs
    assert all(inputs.resident for inputs in engine.others)


@pytest.mark.parametrize("cache", [NoCache(), Dual()], ids=lambda c: c.name)
def test_rows_that_are_stuck_get_their_tokens_from_logits(cache: Cache, host: HostDevice) -> None:
    schemes: list[Scheme] = [
        Unmask(policy, Blocks(4), cache) for policy in (DAWN, Threshold(), DAWN, SCALED)
    ]
    there, _, engine = decode(host, schemes, model=fond)
    repeated = [inputs for inputs in (*engine.runs, *engine.others) if inputs.want_logits]
    assert len(repeated) > 4
    assert any(inputs.want_logits for inputs in engine.runs), "beside rows that are not stuck"
    assert all(MASK not in row.answer for row in there.rows.values())


def fond(*arguments: Any) -> Any:
    """The hash model, with the mask preferred for most of what can be seen."""
    logits, attention = HashModel(32, 3)(*arguments)
    most = (logits[:, 0] * 7919) % 1 < 0.8
    logits[most, MASK] = logits[most].max(axis=1) + 3
    return logits, attention


@pytest.mark.parametrize("spoilt", ["confidence", "attention"])
@pytest.mark.parametrize("cache", [NoCache(), Dual()], ids=lambda c: c.name)
def test_after_a_fault_in_one_row_the_same_step_can_be_taken_again(
    spoilt: str, cache: Cache, host: HostDevice
) -> None:
    class Broken(FakeEngine):
        broken = False

        def run(self, inputs: Any) -> Any:
            outputs = super().run(inputs)
            if self.broken:
                getattr(outputs, spoilt)[-1, 0] = np.nan
            return outputs

    fake = Broken(MANIFEST, HashModel(32, 3))
    bounds = {"max_rows": 4, "max_tokens": 200}
    there, here = (
        open_batch(engine, Packer(0), **bounds) for engine in (HostEngine(fake, host), fake)
    )
    for batch in (there, here):
        for row in begin(PROMPTS, COUNTS):
            batch.admit(row, Unmask(DAWN, Blocks(8), cache))
    while here.active:
        before = dict(there.rows)
        fake.broken = True
        with pytest.raises(EngineError, match=f"fake: output {spoilt} holds NaN or infinity"):
            there.step()
        assert all(there.row(key) is row for key, row in before.items())
        fake.broken = False
        step(there, here)


def test_keys_on_a_device_go_with_the_row_that_leaves(host: HostDevice) -> None:
    there, _, _ = batches(host, HashModel(32, 4))
    keys = [there.admit(row, Unmask(DAWN, Blocks(8), Dual())) for row in begin(PROMPTS, 30)]
    there.step()
    memory = there._memory._store
    assert isinstance(memory, DeviceKv)
    assert memory.rows == tuple(keys)
    there.leave(keys[1])
    there.step()
    assert memory.rows == (keys[0], *keys[2:])


def test_a_row_leaves_whatever_has_become_of_the_engine(driver: FakeDriver) -> None:
    device = CudaDevice(driver=driver)
    there, here, _ = batches(device, HashModel(32, 4))
    for row in begin(PROMPTS, COUNTS):
        for batch in (there, here):
            batch.admit(row, Unmask(DAWN, Blocks(8), Dual()))
    for _ in range(3):
        step(there, here)
    device.close()
    with pytest.raises(EngineError, match="the device is closed"):
        there.step()
    for key in tuple(there.rows):
        assert same_row(there.leave(key), here.leave(key))


def test_memory_of_a_batch_is_freed_with_it(driver: FakeDriver) -> None:
    device = CudaDevice(driver=driver)
    there, _, engine = batches(device, HashModel(32, 4))
    for row in begin(PROMPTS, COUNTS):
        there.admit(row, Unmask(DAWN, Blocks(8), Dual()))
    for _ in range(3):
        there.step()
    gc.disable()
    try:
        held = len(driver.memory)
        del there
        engine.runs.clear()
        engine._pool = Pool(device)
        del engine  # with what all its batches passed through
        assert held > 8
        assert not driver.memory, "without the garbage collector"
    finally:
        gc.enable()


@pytest.mark.parametrize("cache", [NoCache(), Dual()], ids=["none", "dual"])
def test_a_second_batch_takes_no_memory_of_its_own(cache: Cache, driver: FakeDriver) -> None:
    engine = HostEngine(FakeEngine(OLDER, HashModel(32, 4)), CudaDevice(driver=driver))
    allocated = []
    for _ in range(2):
        there = open_batch(engine, Packer(0), max_rows=1, max_tokens=44)
        there.admit(*begin(PROMPTS[:1], COUNTS[:1]), Unmask(DAWN, Blocks(8), cache))
        before = driver.calls.count("cuMemAlloc") + driver.calls.count("cuMemAllocHost")
        while there.active:
            there.step()
        after = driver.calls.count("cuMemAlloc") + driver.calls.count("cuMemAllocHost")
        allocated.append(after - before)
    assert allocated[0] > 6
    assert allocated[1] == 0


def test_engines_that_python_cannot_look_up_or_refer_to_weakly_have_batches_too(
    host: HostDevice,
) -> None:
    class Slotted:
        __slots__ = ("_engine", "device")
        __hash__ = None  # type: ignore[assignment]

        def __init__(self, engine: HostEngine) -> None:
            self._engine, self.device = engine, engine.device

        def __getattr__(self, name: str) -> Any:
            return getattr(self._engine, name)

        def describe(self) -> Any:
            return self._engine.describe()

        def run(self, inputs: Any) -> Any:
            return self._engine.run(inputs)

        def run_on_device(self, inputs: Any) -> Any:
            return self._engine.run_on_device(inputs)

        def kv_memory(self, tokens: int) -> Any:
            return self._engine.kv_memory(tokens)

        def close(self) -> None:
            self._engine.close()

    fake = FakeEngine(MANIFEST, HashModel(32, 2))
    engine = HostEngine(fake, host)
    settings: dict[str, Any] = {"policy": DAWN.name, "options": DAWN.options(), "block_length": 8}
    there, here = (
        Decoder(MANIFEST, one).generate(input_ids=[1, 2, 3], max_new_tokens=40, **settings)
        for one in (Slotted(engine), fake)
    )
    assert engine.runs
    assert there.trace == here.trace


def test_decoder_gives_the_same_results_and_streams_on_a_device(host: HostDevice) -> None:
    fake = FakeEngine(MANIFEST, HashModel(32, 2))
    here, there = Decoder(MANIFEST, fake), Decoder(MANIFEST, HostEngine(fake, host))
    settings: dict[str, Any] = {"policy": DAWN.name, "options": DAWN.options(), "block_length": 8}
    prompts = [np.array(prompt) for prompt in PROMPTS]
    for left, right in zip(
        there.generate_batch(prompts, max_new_tokens=40, **settings),
        here.generate_batch(prompts, max_new_tokens=40, **settings),
        strict=True,
    ):
        assert left.trace == right.trace
        assert left.finish_reason == right.finish_reason
        np.testing.assert_array_equal(left.tokens, right.tokens)
        assert 0 < left.engine_seconds < left.seconds
    seen = list(there.watch(input_ids=[1, 2, 3], max_new_tokens=40, **settings))
    assert seen == list(here.watch(input_ids=[1, 2, 3], max_new_tokens=40, **settings))
    stopped = there.generate(input_ids=[1, 2, 3], max_forwards=1, **settings)
    assert (stopped.forwards, stopped.finish_reason) == (1, "max_forwards")


def test_a_rule_of_ones_own_may_name_the_kernel(host: HostDevice) -> None:
    @dataclass(frozen=True, slots=True)
    class Half(Policy):
        name: ClassVar[str] = "half"

        def select(self, view: RowView) -> NDArray[np.int64]:
            return view.candidates[view.confidence[view.candidates] >= 0.5]

        def kernel(self, keys: int) -> Kernel:
            return Kernel(tau_high=0.5)

    _, _, engine = decode(host, [Unmask(Half(), Blocks(8), Dual())] * 4, seed=7)
    assert engine.runs
    assert not engine.others
