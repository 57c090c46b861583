"""The TensorRT engine over a fake `tensorrt`, a fake CUDA driver and real graphs."""

import gc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_export.tensorrt import EngineOptions
from dawn_runtime import Decoder
from dawn_runtime.artifact import Artifact
from dawn_runtime.cuda import CudaDevice
from dawn_runtime.decoding import kv_bytes
from dawn_runtime.engine.device import DeviceEngine, DeviceOutputs, ResidentEngine
from dawn_runtime.engine.ort.cpu import OrtEngine
from dawn_runtime.engine.protocol import StepInputs, StepOutputs
from dawn_runtime.engine.tensorrt import engine as engine_module
from dawn_runtime.engine.tensorrt.engine import TensorRTEngine, open_tensorrt
from dawn_runtime.engine.tensorrt.plans import plan_files
from dawn_runtime.errors import DependencyError, EngineError, OptionError
from dawn_runtime.manifest import Attention
from support.fake_driver import FakeDriver
from support.fake_tensorrt_world import DataType, TensorIOMode, TensorLocation
from support.tensorrt_machine import FEW, ORIN, FakeMachine, copied, small_artifact

VERSIONS = ["10.3.0", "11.4.0"]
FED = ("input_ids", "position_ids", "attention_mask", "logit_rows", "attention_rows")


@pytest.fixture(scope="module")
def portable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_artifact(tmp_path_factory.mktemp("portable"), precision="fp32")


@pytest.fixture(scope="module")
def in_bytes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose keys and values are kept in bytes."""
    return small_artifact(tmp_path_factory.mktemp("bytes"), precision="fp32", kv="int8")


@pytest.fixture
def folder(portable: Path, tmp_path: Path) -> Path:
    return copied(portable, tmp_path / "artifact")


@pytest.fixture
def machine(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    made = FakeMachine(monkeypatch)
    made.world.enqueue = driver._do
    made.world.recording = lambda: driver._captured is not None
    monkeypatch.setattr(engine_module, "CudaDevice", lambda: CudaDevice(driver=driver))
    return made


@pytest.fixture
def engine(machine: FakeMachine, folder: Path) -> Iterator[TensorRTEngine]:
    machine.build(folder)
    opened = open_tensorrt(Artifact.open(folder))
    yield opened
    opened.close()


def reference(folder: Path) -> OrtEngine:
    artifact = Artifact.open(folder)
    return OrtEngine(artifact.path("model.onnx"), artifact.manifest, threads=1)


def full_pass(rows: int = 3, evidence: int = 2, batch: int = 1, length: int = 12) -> StepInputs:
    rng = np.random.default_rng(length + rows)
    return StepInputs(
        input_ids=rng.integers(0, 40, (batch, length)),
        position_ids=np.tile(np.arange(length), (batch, 1)),
        attention_mask=np.ones((batch, 1, length, length), dtype=bool),
        logit_rows=rng.integers(0, length, (batch, rows)),
        attention_rows=rng.integers(0, length, (batch, evidence)),
    )


def cached_pass(past: tuple[Any, ...], fed: int = 4) -> StepInputs:
    step, kept = full_pass(rows=2, evidence=1, length=fed), past[0].shape[2]
    mask = np.ones((1, 1, fed, kept + fed), dtype=bool)
    positions = np.arange(kept, kept + fed)[None]
    return replace(step, past=past, attention_mask=mask, position_ids=positions)


def assert_same(left: Any, right: Any) -> None:
    assert np.array_equal(left.tokens, right.tokens)
    for name in ("confidence", "attention"):
        np.testing.assert_allclose(getattr(left, name), getattr(right, name), atol=1e-6)
    assert len(left.present) == len(right.present)
    for mine, other in zip(left.present, right.present, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)


def test_the_engine_offers_memory_and_runs_on_the_device(engine: TensorRTEngine) -> None:
    assert isinstance(engine, ResidentEngine)
    assert isinstance(engine, DeviceEngine)
    assert engine.describe().name == "tensorrt"


@pytest.mark.parametrize(("rows", "evidence"), [(1, 0), (3, 2), (8, 8), (12, 12)])
def test_a_full_pass_is_that_of_the_cpu_however_rows_are_rounded(
    engine: TensorRTEngine, folder: Path, rows: int, evidence: int
) -> None:
    step = replace(full_pass(rows, evidence), want_present=True)
    assert_same(engine.run(step), reference(folder).run(step))


def test_a_cached_pass_is_that_of_the_cpu(engine: TensorRTEngine, folder: Path) -> None:
    cpu = reference(folder)
    kept = cpu.run(replace(full_pass(), want_present=True)).present
    step = replace(cached_pass(kept), want_present=True)
    assert_same(engine.run(step), cpu.run(step))


def test_keys_of_a_full_pass_outlast_a_cached_one(engine: TensorRTEngine, folder: Path) -> None:
    step = replace(full_pass(), want_present=True)
    expected = reference(folder).run(step).present
    kept = engine.run(replace(step, resident=True)).present
    engine.run(replace(cached_pass(kept), want_present=True, resident=True))
    for array, other in zip(kept, expected, strict=True):
        host = np.zeros(array.shape, dtype=array.dtype)
        engine.device.download(host, array)
        engine.device.synchronize()
        np.testing.assert_allclose(host, other, atol=1e-5)


def test_keys_at_other_addresses_are_read_from_there(engine: TensorRTEngine, folder: Path) -> None:
    cpu = reference(folder)
    first, other = (
        cpu.run(replace(full_pass(rows=rows), want_present=True)).present for rows in (2, 3)
    )
    places = [
        [engine.device.allocate(array.shape, str(array.dtype)) for array in first] for _ in range(2)
    ]
    for arrays, values in zip(places, (first, other), strict=True):
        for target, array in zip(arrays, values, strict=True):
            engine.device.upload(target, array)
    for arrays, values in [*zip(places, (first, other), strict=True)] * 3:
        found = engine.run(replace(cached_pass(tuple(arrays)), resident=True))
        assert_same(found, cpu.run(cached_pass(tuple(values))))


def test_keys_of_the_host_are_read_anew_in_every_run(
    engine: TensorRTEngine, folder: Path, driver: FakeDriver
) -> None:
    cpu, allocated = reference(folder), []
    for length in (9, 12, 9, 12, 12, 9, 9, 12):
        kept = cpu.run(replace(full_pass(rows=1, length=length), want_present=True)).present
        for scale in (1.0, 0.5, 1.5):
            step = cached_pass(tuple(scale * array for array in kept))
            assert_same(engine.run(step), cpu.run(step))
        allocated.append(driver.calls.count("cuMemAlloc"))
    assert allocated[1:] == allocated[1:2] * 7, "the memory for them stays"


def test_later_runs_leave_earlier_outputs_alone(engine: TensorRTEngine) -> None:
    step = full_pass()
    first = engine.run(step)
    before = first.confidence.copy()
    engine.run(replace(step, input_ids=(step.input_ids + 1) % 40))
    assert np.array_equal(first.confidence, before)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
def test_decoding_is_that_of_the_cpu(
    machine: FakeMachine, folder: Path, cache: str, version: str
) -> None:
    machine.install(version)
    machine.build(folder)
    manifest = Artifact.open(folder).manifest
    prompts = [[1, 2, 3, 4, 5], [6, 7, 8]]
    results = []
    for opened in (open_tensorrt(Artifact.open(folder)), reference(folder)):
        decoder = Decoder(manifest, opened)
        settings = {"cache": cache, "max_new_tokens": 16, "block_length": 8, "policy": "dawn"}
        found = decoder.generate_batch(prompts, stop_at_eos=False, **settings)  # type: ignore[arg-type]
        results.append([result.tokens.tolist() for result in found])
        opened.close()
    assert results[0] == results[1]
    assert machine.world.runs > 2


def test_the_third_run_of_a_kind_is_one_launch_of_a_graph(
    engine: TensorRTEngine, machine: FakeMachine, driver: FakeDriver
) -> None:
    first, second = engine.run(full_pass()), engine.run(full_pass())
    bound = machine.world.bound
    assert driver.calls.count("cuGraphInstantiate") == 1
    driver.calls.clear()
    third = engine.run(full_pass())
    assert machine.world.bound == bound
    assert driver.calls.count("cuGraphLaunch") == 1
    assert driver.calls.count("cuMemcpyHtoDAsync") == 1
    assert driver.calls.count("cuMemcpyDtoHAsync") == 1
    assert "cuMemAlloc" not in driver.calls
    assert_same(first, second)
    assert_same(first, third)


def decode(engine: Any, folder: Path, seed: int, **settings: Any) -> list[int]:
    decoder = Decoder(Artifact.open(folder).manifest, engine)
    prompt = np.random.default_rng(seed).integers(1, 30, 8 + 3 * (seed % 2)).tolist()
    rules: dict[str, Any] = {"max_new_tokens": 24, "block_length": 8, "stop_at_eos": False}
    found = decoder.generate(input_ids=prompt, **{**rules, **settings}).tokens
    return list(map(int, found))


CAPTURED: list[dict[str, Any]] = [
    {"cache": "none", "policy": "one-per-step"},
    {"cache": "prefix", "policy": "threshold", "options": {"threshold": 0.5}},
    {"cache": "dual", "policy": "one-per-step", "window": "sliding"},
    {"cache": "dual", "policy": "threshold", "options": {"threshold": 0.5}},
]


@pytest.mark.parametrize("settings", CAPTURED, ids=lambda s: f"{s['cache']}-{s['policy']}")
def test_no_run_is_recorded_right_after_a_change_of_shape(
    engine: TensorRTEngine, machine: FakeMachine, folder: Path, settings: dict[str, Any]
) -> None:
    plain = reference(folder)
    for seed in range(4):
        assert decode(engine, folder, seed, **settings) == decode(plain, folder, seed, **settings)
    assert not any(machine.world.captures)
    if settings["policy"] == "one-per-step":
        assert machine.world.captures


def test_keys_in_bytes_are_those_of_the_cpu_and_stay_on_the_device(
    machine: FakeMachine, in_bytes: Path, tmp_path: Path
) -> None:
    folder = copied(in_bytes, tmp_path / "artifact")
    machine.build(folder)
    engine, cpu = open_tensorrt(Artifact.open(folder)), reference(folder)
    step = replace(full_pass(), want_present=True)
    found, expected = engine.run(step), cpu.run(step)
    for one, other in zip(found.present, expected.present, strict=True):
        assert one.dtype == np.uint8
        np.testing.assert_array_equal(one, other)
    again = replace(cached_pass(expected.present), want_present=True)
    assert_same(engine.run(again), cpu.run(again))
    for cache in ("dual", "prefix"):
        settings: dict[str, Any] = {"policy": "dawn", "cache": cache}
        assert decode(engine, folder, 0, **settings) == decode(cpu, folder, 0, **settings)
    engine.close()


def test_runs_of_two_kinds_in_turn_are_recorded_once_each_came_twice_in_a_row(
    engine: TensorRTEngine, machine: FakeMachine, driver: FakeDriver, folder: Path
) -> None:
    cpu = reference(folder)
    for lengths, graphs in (((12, 9) * 3, 0), ((12, 12), 1), ((9, 9), 2), ((12, 9) * 2, 2)):
        for length in lengths:
            step = full_pass(length=length)
            assert_same(engine.run(step), cpu.run(step))
        assert driver.calls.count("cuGraphInstantiate") == graphs
    assert machine.world.captures == [False, False]


def test_a_plan_that_cannot_be_recorded_runs_all_the_same_and_says_so_once(
    engine: TensorRTEngine, machine: FakeMachine, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine.world.faults.add("capture")
    settings: dict[str, Any] = {"policy": "one-per-step", "cache": "dual"}
    expected = decode(reference(folder), folder, 0, **settings)
    for _ in range(3):
        assert decode(engine, folder, 0, **settings) == expected
    (record,) = caplog.records
    assert "runs are started one by one, which takes longer" in record.getMessage()


def test_a_recording_that_the_driver_refuses_is_no_fault_either(
    engine: TensorRTEngine, driver: FakeDriver, folder: Path
) -> None:
    driver.failing["cuGraphInstantiate"] = "CUDA_ERROR_OUT_OF_MEMORY"
    expected = reference(folder).run(full_pass())
    for _ in range(4):
        assert_same(engine.run(full_pass()), expected)
    assert driver.calls.count("cuGraphInstantiate") == 1, "it is not tried again"


def test_without_memory_for_another_context_the_oldest_graph_gives_up_its_own(
    engine: TensorRTEngine, machine: FakeMachine, folder: Path
) -> None:
    cpu = reference(folder)
    for _ in range(3):
        engine.run(full_pass(length=12))
    machine.world.faults.add("context")
    for length in (9, 12, 9, 12):
        step = full_pass(length=length)
        assert_same(engine.run(step), cpu.run(step))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("input_ids", DataType.INT32, "type of input_ids is INT32; expected INT64"),
        ("confidence", DataType.HALF, "type of confidence is HALF; expected FLOAT"),
        ("attention_mask", TensorLocation.HOST, "location of attention_mask is HOST; expected DEV"),
        ("tokens", TensorIOMode.INPUT, "mode of tokens is INPUT; expected OUTPUT"),
    ],
)
def test_a_plan_with_other_types_is_refused_when_it_is_loaded(
    machine: FakeMachine, folder: Path, driver: FakeDriver, name: str, value: Any, message: str
) -> None:
    machine.build(folder)
    machine.world.changed[name] = value
    with pytest.raises(EngineError, match=f"{message}.*dawn-export --target tensorrt") as caught:
        open_tensorrt(Artifact.open(folder))
    assert "\n" not in str(caught.value)
    assert not driver.memory


@pytest.mark.parametrize("window", ["blocks", "sliding"])
@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
def test_tokens_and_keys_come_in_multiples_of_eight(
    cache: str,
    window: str,
    engine: TensorRTEngine,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[dict[str, int]] = []
    bucket = engine._bucket

    def noted(exact: dict[str, int]) -> tuple[int, dict[str, int]]:
        seen.append(exact)
        return bucket(exact)

    monkeypatch.setattr(engine, "_bucket", noted)
    decoder = Decoder(Artifact.open(folder).manifest, engine)
    settings: Any = {"window": window, "cache": cache, "policy": "threshold"}
    decoder.generate(input_ids=[1, 2, 3], max_new_tokens=42, **settings)
    assert seen
    assert all(sizes["S"] % 8 == 0 and sizes["P"] % 8 == 0 for sizes in seen)


def test_numbers_of_rows_within_a_block_share_a_graph(
    engine: TensorRTEngine, driver: FakeDriver
) -> None:
    for rows in (8, 7, 6, 5, 1):
        engine.run(full_pass(rows=rows, evidence=rows))
    assert driver.calls.count("cuGraphInstantiate") == 1


def to_host(engine: TensorRTEngine, outputs: DeviceOutputs, step: StepInputs) -> StepOutputs:
    """Copies of what a run left on the device, cut to what was asked for."""

    def copy(array: Any, rows: int | None = None) -> Any:
        host = np.zeros(array.shape, dtype=array.dtype)
        engine.device.download(host, array)
        engine.device.synchronize()
        return host[:, :rows]

    rows, queries = step.logit_rows.shape[1], step.attention_rows.shape[1]
    return StepOutputs(
        tokens=copy(outputs.tokens, rows),
        confidence=copy(outputs.confidence, rows),
        attention=copy(outputs.attention, queries),
        logits=None if outputs.logits is None else copy(outputs.logits, rows),
        present=tuple(map(copy, outputs.present)),
    )


@pytest.mark.parametrize(("rows", "evidence"), [(3, 12), (5, 2), (1, 0)])
def test_what_a_run_leaves_on_the_device_is_that_of_the_cpu(
    engine: TensorRTEngine, folder: Path, driver: FakeDriver, rows: int, evidence: int
) -> None:
    cpu = reference(folder)
    step = replace(full_pass(rows, evidence), want_present=True)
    for _ in range(3):
        outputs = engine.run_on_device(replace(step, resident=True))
        found, expected = to_host(engine, outputs, step), cpu.run(step)
        assert_same(found, expected)
        later = replace(cached_pass(outputs.present), resident=True)
        found = to_host(engine, engine.run_on_device(later), later)
        assert_same(found, cpu.run(replace(later, past=expected.present, resident=False)))
        step = replace(step, input_ids=(step.input_ids + 1) % 40)


def test_runs_that_stay_on_the_device_are_launches_of_a_graph(
    engine: TensorRTEngine, driver: FakeDriver
) -> None:
    for _ in range(2):
        engine.run_on_device(full_pass(rows=8))
        engine.device.synchronize()
    driver.calls.clear()
    engine.run_on_device(full_pass(rows=5))
    assert driver.calls.count("cuGraphLaunch") == 1
    assert driver.calls.count("cuMemcpyHtoDAsync") == 1
    assert driver.calls.count("cuMemcpyDtoHAsync") == 0


def test_a_step_of_more_rows_than_a_profile_has_keeps_the_keys_of_both_its_runs(
    engine: TensorRTEngine, folder: Path
) -> None:
    cpu, step = reference(folder), replace(full_pass(batch=2, length=40), want_present=True)
    expected = cpu.run(step).present
    past = [engine.device.allocate(array.shape, str(array.dtype)) for array in expected]
    later = cached_pass(tuple(array[:1] for array in expected), fed=40)
    later = replace(later, position_ids=later.position_ids - 40)
    later = replace(
        later,
        **{name: np.repeat(getattr(later, name), 2, axis=0) for name in FED},
        past=tuple(past),
        want_present=True,
        resident=True,
    )
    for tokens in (80, 160):
        kept = engine.kv_memory(tokens)
        for _ in range(3):  # the third is a replay of what was recorded for this memory
            found = engine.run(replace(step, resident=True)).present
            if tokens == 160:
                engine.run(later)
            for array, other in zip(found, expected, strict=True):
                host = np.zeros(array.shape, dtype=array.dtype)
                engine.device.download(host, array)
                engine.device.synchronize()
                np.testing.assert_allclose(host, other, atol=1e-5)
        del kept


def test_keys_of_an_earlier_text_are_taken_over(machine: FakeMachine, folder: Path) -> None:
    machine.build(folder)
    manifest = replace(Artifact.open(folder).manifest, attention=Attention("causal"))
    asked = [list(range(1, 12)), [*range(1, 10), 3, 5]]
    found = []
    for engine in (open_tensorrt(Artifact.open(folder)), reference(folder)):
        decoder = Decoder(manifest, engine, prefix_bytes=10**6)
        results = [
            decoder.generate(input_ids=ids, max_new_tokens=4, policy="autoregressive")
            for ids in asked
        ]
        assert [result.reused_tokens for result in results] == [0, 9]
        found.append([result.tokens.tolist() for result in results])
        engine.close()
    assert found[0] == found[1]


def test_logits_stay_on_the_device_too(machine: FakeMachine, folder: Path) -> None:
    step = replace(full_pass(), want_logits=True)
    machine.build(folder, replace(FEW, logits=True))
    opened = open_tensorrt(Artifact.open(folder))
    found = to_host(opened, opened.run_on_device(step), step)
    np.testing.assert_allclose(found.logits, reference(folder).run(step).logits, atol=1e-5)
    assert opened.run_on_device(full_pass()).logits is None
    opened.close()


def test_a_step_outside_the_profiles_names_the_flag(engine: TensorRTEngine) -> None:
    with pytest.raises(EngineError, match=r"S from 1 to 48; build it again with a larger --max-l"):
        engine.run(full_pass(length=49))
    with pytest.raises(EngineError, match=r"B from 1 to 2; build it again with a larger --batch"):
        engine.run(full_pass(batch=3))


def test_logits_come_only_from_a_plan_built_with_them(machine: FakeMachine, folder: Path) -> None:
    step = replace(full_pass(), want_logits=True)
    machine.build(folder)
    opened = open_tensorrt(Artifact.open(folder))
    with pytest.raises(EngineError, match=r"logits are wanted .* build it again with --logits"):
        opened.run(step)
    opened.close()
    machine.build(folder, replace(FEW, logits=True))
    opened = open_tensorrt(Artifact.open(folder))
    expected = reference(folder).run(step)
    np.testing.assert_allclose(opened.run(step).logits, expected.logits, atol=1e-5)
    opened.close()


def test_a_closed_engine_says_so_and_can_be_closed_again(engine: TensorRTEngine) -> None:
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="the engine is closed; open the artifact again"):
        engine.run(full_pass())


def test_threads_are_refused(folder: Path) -> None:
    with pytest.raises(OptionError, match="threads=2, but its work runs on the GPU"):
        open_tensorrt(Artifact.open(folder), threads=2)


def test_without_a_plan_the_command_to_build_one_is_named(
    machine: FakeMachine, folder: Path
) -> None:
    with pytest.raises(EngineError, match=r"holds no TensorRT plan; build one: dawn-export"):
        open_tensorrt(Artifact.open(folder))


def test_without_tensorrt_its_reason_is_given(
    machine: FakeMachine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.build(folder)
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    with pytest.raises(DependencyError, match=r"tensorrt runs the plans .*cannot be imported"):
        open_tensorrt(Artifact.open(folder))


@pytest.mark.parametrize(
    ("fault", "message"),
    [("context", "cannot make a context"), ("shape", "cannot set"), ("run", "cannot run")],
)
def test_after_a_fault_the_artifact_can_be_opened_again(
    machine: FakeMachine, folder: Path, fault: str, message: str
) -> None:
    machine.build(folder)
    opened = open_tensorrt(Artifact.open(folder))
    machine.world.faults.add(fault)
    with pytest.raises(EngineError, match=f"tensorrt 10.3.0: {message}") as caught:
        opened.run(full_pass())
    assert "\n" not in str(caught.value)
    opened.close()
    machine.world.faults.clear()
    again = open_tensorrt(Artifact.open(folder))
    again.run(full_pass())
    again.close()


def test_a_lost_device_is_one_error_and_closing_still_works(
    machine: FakeMachine, folder: Path, driver: FakeDriver
) -> None:
    machine.build(folder)
    opened = open_tensorrt(Artifact.open(folder))
    driver.failing["cuStreamSynchronize"] = "CUDA_ERROR_DEVICE_UNAVAILABLE"
    with pytest.raises(EngineError, match="CUDA_ERROR_DEVICE_UNAVAILABLE"):
        opened.run(full_pass())
    opened.close()
    driver.failing.clear()
    again = open_tensorrt(Artifact.open(folder))
    again.run(full_pass())
    again.close()
    assert not driver.memory


def test_too_little_memory_at_opening_leaves_nothing_behind(
    machine: FakeMachine, folder: Path, driver: FakeDriver
) -> None:
    machine.build(folder)
    driver.failing["cuMemAlloc"] = "CUDA_ERROR_OUT_OF_MEMORY"
    with pytest.raises(EngineError, match="CUDA_ERROR_OUT_OF_MEMORY"):
        open_tensorrt(Artifact.open(folder))
    assert not driver.memory
    gc.collect()
    assert not list(machine.world.live)


def test_nothing_is_left_of_a_hundred_engines(
    machine: FakeMachine, folder: Path, driver: FakeDriver
) -> None:
    machine.build(folder)
    artifact = Artifact.open(folder)
    for _ in range(100):
        opened = open_tensorrt(artifact)
        for _ in range(3):
            opened.run(full_pass())
        opened.close()
        assert not driver.memory
    del opened
    gc.collect()
    assert not list(machine.world.live)
    assert driver.calls.count("cuGraphExecDestroy") == driver.calls.count("cuGraphInstantiate")


def test_weights_left_out_of_a_plan_are_put_in_when_it_is_loaded(
    machine: FakeMachine, folder: Path
) -> None:
    options = EngineOptions(max_length=48, block_length=8, stripped=True)
    machine.build(folder, options)
    opened = open_tensorrt(Artifact.open(folder))
    assert_same(opened.run(full_pass()), reference(folder).run(full_pass()))
    opened.close()
    machine.world.faults.add("refit")
    with pytest.raises(EngineError, match=r"cannot put the weights of .* weights differ"):
        open_tensorrt(Artifact.open(folder))


def test_the_lean_runtime_says_what_it_cannot_do(
    machine: FakeMachine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = EngineOptions(max_length=48, block_length=8, stripped=True, version_compatible=True)
    machine.build(folder, options)
    monkeypatch.delattr(machine.trt.module, "OnnxParserRefitter")
    with pytest.raises(EngineError, match=r"the lean runtime cannot put weights into a plan"):
        open_tensorrt(Artifact.open(folder))


def test_a_newer_release_runs_a_version_compatible_plan(machine: FakeMachine, folder: Path) -> None:
    options = EngineOptions(max_length=48, block_length=8, version_compatible=True)
    machine.build(folder, options)
    machine.install("11.4.0")
    opened = open_tensorrt(Artifact.open(folder))  # the fake checks that host code is allowed
    assert_same(opened.run(full_pass()), reference(folder).run(full_pass()))
    opened.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.install("10.4.0"), "was built by version 10.3.0, this machine has 10.4.0"),
        (lambda m: m.world.faults.add("load"), "tensorrt 10.3.0: refuses .*is not compatible"),
    ],
)
def test_a_plan_that_does_not_fit_is_one_line_and_leaves_nothing(
    machine: FakeMachine, folder: Path, driver: FakeDriver, change: Any, message: str
) -> None:
    machine.build(folder)
    change(machine)
    with pytest.raises(EngineError, match=message) as caught:
        open_tensorrt(Artifact.open(folder))
    assert "dawn-export --target tensorrt --artifact" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not driver.memory


def lose_the_device(driver: FakeDriver) -> None:
    driver.failing["cuStreamSynchronize"] = "CUDA_ERROR_DEVICE_UNAVAILABLE"


def truncate(folder: Path) -> None:
    (path,) = folder.glob("*.engine")
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m, d, f: m.install("10.4.0"), "was built by version 10.3.0, this machine has 10.4"),
        (lambda m, d, f: rebuilt_for(m, f, (9, 0)), "for a GPU of compute capability 9.0, this on"),
        (lambda m, d, f: truncate(f), "bytes instead of"),
        (lambda m, d, f: d.failing.update(cuMemAlloc="CUDA_ERROR_OUT_OF_MEMORY"), "OUT_OF_MEMORY"),
        (lambda m, d, f: lose_the_device(d), "CUDA_ERROR_DEVICE_UNAVAILABLE; .*open it again"),
        (lambda m, d, f: m.world.faults.add("run"), "cannot run the engine"),
        (lambda m, d, f: m.build(f, replace(FEW, max_length=8)), "a larger --max-length"),
    ],
    ids=["version", "sm", "truncated", "memory", "lost", "run", "profile"],
)
def test_after_every_fault_a_decoder_closes_and_another_one_answers(
    machine: FakeMachine, folder: Path, driver: FakeDriver, spoil: Any, message: str
) -> None:
    if message != "a larger --max-length":  # of several plans the longest is taken
        machine.build(folder)
    spoil(machine, driver, folder)
    with pytest.raises(EngineError, match=message) as caught, Decoder.open(folder) as decoder:
        decoder.generate(input_ids=[1, 2, 3], max_new_tokens=16, cache="dual")
    assert "\n" not in str(caught.value)
    driver.failing.clear()
    machine.world.faults.clear()
    assert not driver.memory
    machine.install("10.3.0")
    machine.set_gpu(ORIN)
    for path in plan_files(folder):
        (folder / path).unlink()
    machine.build(folder)
    with Decoder.open(folder) as decoder:
        found = decoder.generate(input_ids=[1, 2, 3], max_new_tokens=16, cache="dual")
        assert decoder.manifest.dims.vocab_size > found.tokens.max()
    assert not driver.memory


def rebuilt_for(machine: FakeMachine, folder: Path, capability: tuple[int, int]) -> None:
    """Replaces the plan by one of another GPU."""
    for path in plan_files(folder):
        (folder / path).unlink()
    machine.set_gpu(replace(ORIN, capability=capability))
    machine.build(folder)


def test_keys_of_one_row_are_held_twice(
    machine: FakeMachine, folder: Path, driver: FakeDriver
) -> None:
    machine.build(folder, replace(FEW, batch=1))
    opened = open_tensorrt(Artifact.open(folder))
    before = sum(map(len, driver.memory.values()))
    kept = opened.kv_memory(48)
    added = sum(map(len, driver.memory.values())) - before
    once = kv_bytes(opened.describe(), 48)
    assert once <= added <= once + 4096, "what is kept"
    assert once <= opened._present.nbytes <= once + 4096, "what a step returns"
    del kept
    opened.close()


def test_a_step_too_large_for_kernels_is_refused_before_anything_is_done(
    engine: TensorRTEngine, driver: FakeDriver
) -> None:
    heads = engine._dims.heads
    assert engine.describe().most_evidence == (2**31 - 1) // heads
    engine._dims = replace(engine._dims, heads=2**27)
    driver.calls.clear()
    for run in (engine.run, engine.run_on_device):
        with pytest.raises(EngineError, match=r"a step has 1 x 134217728 x 2 x 12 = .* attention"):
            run(full_pass())  # type: ignore[operator]
    assert not driver.calls
