"""ONNX Runtime with bound inputs and outputs, over host memory, against the engine of the CPU."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from dawn_runtime import (
    Artifact,
    Decoder,
    Engine,
    EngineError,
    EngineInfo,
    StepInputs,
    StepOutputs,
    open_engine,
)
from dawn_runtime.cuda import CudaDevice, DeviceArray
from dawn_runtime.engine import ENGINES
from dawn_runtime.engine.device import DeviceEngine, DeviceOutputs, ResidentEngine
from dawn_runtime.engine.ort import device as ort_device
from dawn_runtime.engine.ort.cpu import OrtEngine
from dawn_runtime.engine.ort.device import OrtDeviceEngine, _GraphIds
from dawn_runtime.engine.ort.session import CPU_PROVIDER, CUDA_PROVIDER, open_session
from dawn_runtime.errors import DependencyError, OptionError
from dawn_runtime.manifest import GRAPH_FILE
from support.capturing_session import CapturingSession
from support.device_engine import HostMemory
from support.fake_driver import FakeDriver
from support.host_device import HostDevice, get, put

Exported = Callable[..., Path]


@pytest.fixture(scope="module", params=[("dream", "fp32"), ("llada", "fp32"), ("dream", "fp16")])
def artifact(request: pytest.FixtureRequest, exported: Exported) -> Artifact:
    family, precision = request.param
    return Artifact.open(exported(family, "fused", precision))


@pytest.fixture
def engines(artifact: Artifact, host: HostDevice) -> Iterator[tuple[OrtDeviceEngine, Engine]]:
    graph, manifest = artifact.path(GRAPH_FILE), artifact.manifest
    bound = OrtDeviceEngine(graph, manifest, host, threads=1)
    plain = OrtEngine(graph, manifest, threads=1)
    yield bound, plain
    bound.close()
    plain.close()


def inputs_of(vocabulary: int, *, batch: int = 2, length: int = 9, queries: int = 4) -> StepInputs:
    rng = np.random.default_rng(length)
    every = np.tile(np.arange(length), (batch, 1))
    return StepInputs(
        rng.integers(0, vocabulary, (batch, length)),
        every,
        np.ones((batch, 1, length, length), dtype=bool),
        every[:, 2:],
        every[:, :queries],
    )


def assert_same(left: Any, right: Any) -> None:
    for name in ("tokens", "confidence", "attention", "logits"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)
    for one, other in zip(left.present, right.present, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("queries", [0, 4])
@pytest.mark.parametrize("wanted", [False, True])
def test_a_bound_run_gives_what_a_plain_run_gives(
    wanted: bool, queries: int, engines: tuple[OrtDeviceEngine, Engine]
) -> None:
    bound, plain = engines
    inputs = inputs_of(bound.describe().vocab_size, queries=queries)
    inputs = replace(inputs, want_logits=wanted, want_present=wanted)
    first = bound.run(inputs)
    assert_same(first, plain.run(inputs))
    kept = [array.copy() for array in (first.tokens, first.attention)]
    bound.run(inputs_of(bound.describe().vocab_size, length=7))
    np.testing.assert_array_equal(first.tokens, kept[0])
    np.testing.assert_array_equal(first.attention, kept[1])


def test_keys_that_stay_on_the_device_are_those_that_come_to_the_host(
    engines: tuple[OrtDeviceEngine, Engine], host: HostDevice
) -> None:
    bound, plain = engines
    inputs = replace(inputs_of(bound.describe().vocab_size), want_present=True)
    expected = plain.run(inputs).present
    found = bound.run(replace(inputs, resident=True)).present
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, DeviceArray)
        np.testing.assert_array_equal(get(host, one), other)
    mask = np.ones((2, 1, 9, 18), dtype=bool)
    cached = replace(inputs, attention_mask=mask, want_present=False)
    assert_same(
        bound.run(replace(cached, past=found, resident=True)),
        plain.run(replace(cached, past=expected)),
    )
    assert_same(
        bound.run(replace(cached, past=expected)), plain.run(replace(cached, past=expected))
    )


def to_host(host: HostDevice, outputs: DeviceOutputs) -> StepOutputs:
    """Copies of what a run left on the device."""
    return StepOutputs(
        *(get(host, getattr(outputs, name)) for name in ("tokens", "confidence", "attention")),
        logits=None if outputs.logits is None else get(host, outputs.logits),
        present=tuple(get(host, array) for array in outputs.present),
    )


def cached_of(inputs: StepInputs, past: tuple[Any, ...]) -> StepInputs:
    """The same tokens, which look at kept keys too."""
    batch, fed = inputs.input_ids.shape
    mask = np.ones((batch, 1, fed, past[0].shape[2] + fed), dtype=bool)
    return replace(
        inputs, attention_mask=mask, past=past, resident=isinstance(past[0], DeviceArray)
    )


@pytest.mark.parametrize("wanted", [False, True])
def test_what_a_run_leaves_on_the_device_is_what_a_plain_run_gives(
    wanted: bool, engines: tuple[OrtDeviceEngine, Engine], host: HostDevice
) -> None:
    bound, plain = engines
    bound.kv_memory(36)  # so many tokens may a full and a cached run feed together
    for length in (9, 5, 9, 9):
        inputs = inputs_of(bound.describe().vocab_size, length=length)
        inputs = replace(inputs, want_logits=wanted, want_present=True)
        outputs, expected = bound.run_on_device(replace(inputs, resident=True)), plain.run(inputs)
        assert_same(to_host(host, outputs), expected)
        cached = bound.run_on_device(cached_of(inputs, outputs.present))
        assert_same(to_host(host, cached), plain.run(cached_of(inputs, expected.present)))
        for array, other in zip(outputs.present, expected.present, strict=True):
            np.testing.assert_array_equal(get(host, array), other)


def test_a_full_and_a_cached_run_of_one_step_have_room_though_earlier_ones_were_small(
    engines: tuple[OrtDeviceEngine, Engine], host: HostDevice
) -> None:
    bound, plain = engines
    inputs = replace(inputs_of(bound.describe().vocab_size), want_present=True, resident=True)
    bound.run(inputs)
    bound.kv_memory(36)
    expected = plain.run(inputs).present
    for run in (bound.run, bound.run_on_device):
        found = run(inputs).present  # type: ignore[operator]
        run(cached_of(inputs, tuple(put(host, array) for array in expected)))  # type: ignore[operator]
        for array, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(get(host, array), other)


def test_what_its_kernels_can_count_goes_by_the_heads(
    engines: tuple[OrtDeviceEngine, Engine],
) -> None:
    bound, plain = engines
    assert bound.describe().most_evidence == (2**31 - 1) // bound._dims.heads
    assert plain.describe().most_evidence is None


def test_numbers_of_kinds_of_runs_take_no_more_room_than_there_is() -> None:
    graphs = _GraphIds()
    for key in range(10_000):
        assert graphs.number(key) == -1
    assert len(graphs._seen) <= 1024


def test_a_run_is_worth_a_cuda_graph_when_it_comes_for_the_fourth_time() -> None:
    graphs = _GraphIds()
    assert [graphs.number("a") for _ in range(6)] == [-1, -1, -1, 1, 1, 1]
    assert [graphs.number("b") for _ in range(4)] == [-1, -1, -1, 2]
    for key in range(40):
        for _ in range(4):
            graphs.number(key)
    assert max(graphs.number(key) for key in range(40)) == 32, "they are never freed"
    assert graphs.number("a") == 1


@pytest.fixture
def captured(
    artifact: Artifact, host: HostDevice, monkeypatch: pytest.MonkeyPatch
) -> tuple[OrtDeviceEngine, CapturingSession]:
    """An engine with CUDA graphs, and the session that captures and replays them."""
    sessions: list[CapturingSession] = []

    def opened(*args: Any, **rest: Any) -> CapturingSession:
        sessions.append(CapturingSession(open_session(*args, **rest)))
        return sessions[-1]

    monkeypatch.setattr(ort_device, "open_session", opened)
    graph, manifest = artifact.path(GRAPH_FILE), artifact.manifest
    return OrtDeviceEngine(graph, manifest, host, threads=1, cuda_graphs=True), sessions[0]


def test_replayed_runs_read_what_is_at_their_addresses_now(
    captured: tuple[OrtDeviceEngine, CapturingSession], artifact: Artifact, host: HostDevice
) -> None:
    engine, session = captured
    plain = OrtEngine(artifact.path(GRAPH_FILE), artifact.manifest, threads=1)
    inputs = replace(inputs_of(artifact.manifest.dims.vocab_size), want_present=True)
    for number in range(7):
        inputs = replace(inputs, input_ids=(inputs.input_ids + 1) % 16)
        found = engine.run_on_device(replace(inputs, resident=True))
        expected = plain.run(inputs)
        rows = inputs.logit_rows.shape[1]
        np.testing.assert_array_equal(get(host, found.confidence)[:, :rows], expected.confidence)
        for array, other in zip(found.present, expected.present, strict=True):
            np.testing.assert_array_equal(get(host, array), other)
        assert session.replays == max(number - 3, 0)
    assert list(session.captured) == [1]


def test_replayed_runs_look_at_the_keys_that_are_kept_now(
    captured: tuple[OrtDeviceEngine, CapturingSession], artifact: Artifact, host: HostDevice
) -> None:
    engine, session = captured
    plain = OrtEngine(artifact.path(GRAPH_FILE), artifact.manifest, threads=1)
    inputs = inputs_of(artifact.manifest.dims.vocab_size)
    kept = plain.run(replace(inputs, want_present=True)).present
    past = tuple(put(host, array) for array in kept)
    for number in range(7):
        kept = tuple(array / 2 for array in kept)
        for target, array in zip(past, kept, strict=True):
            host.upload(target, array)
        found = engine.run_on_device(cached_of(inputs, past))
        expected = plain.run(cached_of(inputs, kept))
        queries = inputs.attention_rows.shape[1]
        np.testing.assert_array_equal(get(host, found.attention)[:, :queries], expected.attention)
        assert session.replays == max(number - 3, 0)


def test_predictions_are_rounded_up_so_that_runs_within_a_block_share_a_graph(
    captured: tuple[OrtDeviceEngine, CapturingSession], artifact: Artifact, host: HostDevice
) -> None:
    engine, session = captured
    plain = OrtEngine(artifact.path(GRAPH_FILE), artifact.manifest, threads=1)
    inputs = inputs_of(artifact.manifest.dims.vocab_size)
    for rows in (7, 6, 5, 4, 3, 2, 1):
        some = replace(inputs, logit_rows=inputs.logit_rows[:, :rows])
        found, expected = engine.run_on_device(some), plain.run(some)
        assert found.confidence.shape == (2, 32)
        np.testing.assert_array_equal(get(host, found.tokens)[:, :rows], expected.tokens)
    assert session.replays == 3


def filled_as(bound: OrtDeviceEngine, plain: OrtEngine) -> EngineInfo:
    """The engine on the CPU, filled up as the other: else sums come in another order."""
    there = bound.describe()
    return replace(plain.describe(), alignment=there.alignment, multiple=there.multiple)


def test_decoding_with_replayed_runs_is_that_of_the_cpu_engine(
    captured: tuple[OrtDeviceEngine, CapturingSession],
    artifact: Artifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, session = captured
    plain = OrtEngine(artifact.path(GRAPH_FILE), artifact.manifest, threads=1)
    monkeypatch.setattr(plain, "_info", filled_as(engine, plain))
    strict = {"policy": "threshold", "options": {"threshold": 0.999}, "block_length": 8}
    for prompts in ([[5, 6, 7], [9]], [[5, 6, 7, 8]], [[3]], [[5, 6, 7], [9]]):
        left, right = (
            Decoder(artifact.manifest, one).generate_batch(prompts, max_new_tokens=24, **strict)  # type: ignore[arg-type]
            for one in (engine, plain)
        )
        assert [result.trace for result in left] == [result.trace for result in right]
    assert session.replays > 8
    assert len(session.captured) >= 2


def test_runs_that_copy_their_inputs_are_never_captured(
    captured: tuple[OrtDeviceEngine, CapturingSession],
) -> None:
    engine, session = captured
    for _ in range(8):
        engine.run(replace(inputs_of(16), want_present=True))
    assert not session.captured


@pytest.mark.parametrize("wanted", [False, True])
def test_cuda_graphs_are_off_unless_asked_for(
    wanted: bool, artifact: Artifact, host: HostDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(ort_device, "open_session", lambda *args, **_: asked.append(args))
    monkeypatch.setattr(ort_device, "CudaDevice", lambda: host)
    monkeypatch.setattr(host, "kind", "cuda", raising=False)
    open_engine(artifact, "onnxruntime-cuda", **({"cuda_graphs": True} if wanted else {}))
    ((_, _, providers, options),) = asked
    assert providers == [CUDA_PROVIDER, CPU_PROVIDER]
    assert options[0] == {
        "device_id": "0",
        "user_compute_stream": "0",
        "enable_cuda_graph": str(int(wanted)),
        "use_tf32": "0",
    }


def test_a_graph_that_cannot_be_captured_names_the_way_out(
    artifact: Artifact, host: HostDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise EngineError("onnxruntime-cuda: cannot load model.onnx: nodes run on the CPU")

    monkeypatch.setattr(ort_device, "open_session", refuse)
    graph, manifest = artifact.path(GRAPH_FILE), artifact.manifest
    with pytest.raises(EngineError, match="CPU; if CUDA graphs are why, leave out cuda_graphs"):
        OrtDeviceEngine(graph, manifest, host, cuda_graphs=True)
    with pytest.raises(EngineError, match=r"run on the CPU$"):
        OrtDeviceEngine(graph, manifest, host)


@pytest.mark.parametrize("engine", ["onnxruntime-cpu", "tensorrt"])
def test_cuda_graphs_are_an_option_of_one_engine(engine: str, artifact: Artifact) -> None:
    message = f"cuda_graphs is for onnxruntime-cuda and not for {engine}; leave it out"
    with pytest.raises(OptionError, match=message):
        open_engine(artifact, engine, cuda_graphs=True)


@pytest.mark.parametrize("cache", ["none", "dual", "dual:refresh=3", "prefix:refresh=never"])
@pytest.mark.parametrize("policy", ["dawn", "threshold", "factor"])
def test_decoding_is_that_of_the_cpu_engine(
    policy: str,
    cache: str,
    engines: tuple[OrtDeviceEngine, Engine],
    artifact: Artifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings: dict[str, Any] = {"policy": policy, "cache": cache, "block_length": 8}
    bound, plain = engines
    monkeypatch.setattr(plain, "_info", filled_as(bound, plain))
    found, expected = (
        Decoder(artifact.manifest, engine).generate_batch(
            [[5, 6, 7], [9]], max_new_tokens=32, **settings
        )
        for engine in (bound, plain)
    )
    for one, other in zip(found, expected, strict=True):
        assert one.trace == other.trace


@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
@pytest.mark.parametrize("window", ["blocks", "sliding"])
def test_tokens_and_keys_come_in_multiples_of_eight(
    window: str,
    cache: str,
    artifact: Artifact,
    engines: tuple[OrtDeviceEngine, Engine],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bound, _ = engines
    seen: list[tuple[int, ...]] = []

    def noting(real: Callable[[StepInputs], Any]) -> Callable[[StepInputs], Any]:
        def noted(inputs: StepInputs) -> Any:
            seen.append(inputs.attention_mask.shape[2:])
            return real(inputs)

        return noted

    for name in ("run", "run_on_device"):
        monkeypatch.setattr(bound, name, noting(getattr(bound, name)))
    settings: Any = {"policy": "threshold", "window": window, "cache": cache}
    prompts = [[1, 2, 3], [4, 5, 6, 7, 8]]
    Decoder(artifact.manifest, bound).generate_batch(prompts, max_new_tokens=30, **settings)
    assert seen
    assert all(size % 8 == 0 for sizes in seen for size in sizes)


def test_what_a_step_brings_goes_in_one_copy_from_pinned_memory(
    artifact: Artifact, driver: FakeDriver
) -> None:
    device = HostMemory(driver=driver)
    engine = OrtDeviceEngine(artifact.graph(), artifact.manifest, device, threads=1)
    for _ in range(2):
        before = driver.calls.count("cuMemcpyHtoDAsync")
        engine.run_on_device(inputs_of(artifact.manifest.dims.vocab_size))
        assert driver.calls.count("cuMemcpyHtoDAsync") == before + 1
        assert device._sources == [], "nothing that is pageable"
        device.synchronize()
    engine.close()


def test_runs_of_a_few_kinds_in_turn_are_bound_once_each(
    engines: tuple[OrtDeviceEngine, Engine], artifact: Artifact
) -> None:
    bound, _ = engines
    kinds = [inputs_of(artifact.manifest.dims.vocab_size, length=n) for n in (9, 12, 16)]
    for inputs in kinds * 2:  # until nothing grows any more
        bound.run_on_device(inputs)
    session, made = bound._session, []

    class Noting:
        def io_binding(self) -> Any:
            made.append(1)
            return session.io_binding()

        def run_with_iobinding(self, *arguments: Any) -> None:
            session.run_with_iobinding(*arguments)

    bound._session = Noting()
    for inputs in kinds * 3:
        bound.run_on_device(inputs)
    assert made == []
    for length in range(20, 32):
        bound.run_on_device(inputs_of(artifact.manifest.dims.vocab_size, length=length))
    assert len(bound._bound) == ort_device._MOST_BOUND


def test_the_engine_offers_all_that_a_device_can(engines: tuple[OrtDeviceEngine, Engine]) -> None:
    bound, plain = engines
    assert isinstance(bound, DeviceEngine)
    assert isinstance(bound, ResidentEngine)
    assert not isinstance(plain, DeviceEngine)
    assert not isinstance(plain, ResidentEngine)


def test_nothing_is_left_of_a_hundred_engines(
    artifact: Artifact, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, manifest = artifact.path(GRAPH_FILE), artifact.manifest
    # The memory of the fake driver is that of the host, so the provider of the CPU can use it.
    monkeypatch.setattr(CudaDevice, "kind", "cpu")
    for _ in range(34):  # of each artifact
        engine = OrtDeviceEngine(graph, manifest, CudaDevice(driver=driver), threads=1)
        decoder = Decoder(manifest, engine)
        decoder.generate(input_ids=[5, 6], max_new_tokens=2, cache="dual", fallback_length=0)
        engine.close()
        assert not driver.memory
    assert driver.calls.count("cuStreamDestroy") == 34


def test_a_closed_engine_says_so(engines: tuple[OrtDeviceEngine, Engine]) -> None:
    bound, _ = engines
    bound.close()
    bound.close()
    with pytest.raises(EngineError, match="onnxruntime-cpu: the engine is closed; open the art"):
        bound.run(inputs_of(16))


def test_a_build_without_cuda_is_named(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU_PROVIDER])
    graph, named = artifact.path(GRAPH_FILE), [CUDA_PROVIDER, CPU_PROVIDER]
    with pytest.raises(DependencyError, match="was built without CUDAExecutionProvider; pip ins"):
        open_session("onnxruntime-cuda", graph, named, activations="fp32")


def test_a_provider_that_does_not_load_is_an_error_with_the_reason(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = [CUDA_PROVIDER, CPU_PROVIDER]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: named)
    reason = "libcublasLt.so.13: cannot open shared object file"
    monkeypatch.setattr("dawn_runtime.machine.providers.load_failure", lambda _: reason)
    with pytest.raises(EngineError) as caught:
        open_session("onnxruntime-cuda", artifact.path(GRAPH_FILE), named, activations="fp32")
    message = str(caught.value)
    assert f"CUDAExecutionProvider does not load: {reason}; the usual cause is another" in message
    assert "engine='onnxruntime-cpu' runs without it" in message
    assert "\n" not in message


def test_without_a_driver_the_cuda_engine_is_refused_and_nothing_takes_its_place(
    artifact: Artifact,
) -> None:
    try:
        CudaDevice().close()
    except DependencyError:
        with pytest.raises(DependencyError, match=r"cuda-python|NVIDIA driver"):
            open_engine(artifact, "onnxruntime-cuda")
    else:
        pytest.skip("there is a GPU")


def test_auto_is_cuda_where_onnxruntime_was_built_with_it(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    monkeypatch.setattr(
        "dawn_runtime.engine.ort.device.open_cuda", lambda *_, **__: opened.append(1)
    )
    open_engine(artifact, threads=1).close()
    assert opened == []
    named = [CUDA_PROVIDER, CPU_PROVIDER]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: named)
    open_engine(artifact)
    assert opened == [1]


def test_engines_are_listed_with_auto_first() -> None:
    assert ENGINES == ("auto", "onnxruntime-cpu", "onnxruntime-cuda", "tensorrt")


def test_a_step_too_large_for_kernels_is_refused_before_anything_is_done(
    artifact: Artifact, host: HostDevice
) -> None:
    manifest = replace(artifact.manifest, dims=replace(artifact.manifest.dims, heads=2**27))
    engine = OrtDeviceEngine(artifact.path(GRAPH_FILE), manifest, host, threads=1)
    inputs = inputs_of(16)
    for run in (engine.run, engine.run_on_device):
        with pytest.raises(EngineError, match=r"a step has 2 x 134217728 x 4 x 9 = .* attention"):
            run(inputs)  # type: ignore[operator]
