"""Real threads on one engine: answers are what they would be alone, whichever engine it is."""

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Artifact, Decoder, Engine, EngineError, StepInputs, StepOutputs
from dawn_runtime.cuda import CudaDevice
from dawn_runtime.engine.exclusive import exclusive
from dawn_runtime.engine.fake import FakeEngine, HashModel
from dawn_runtime.engine.ort.cpu import OrtEngine
from dawn_runtime.engine.ort.device import OrtDeviceEngine
from dawn_runtime.engine.tensorrt import engine as tensorrt_module
from dawn_runtime.engine.tensorrt.engine import open_tensorrt
from dawn_runtime.manifest import GRAPH_FILE
from support.decoding import MANIFEST
from support.device_engine import HostEngine
from support.fake_driver import FakeDriver
from support.host_device import HostDevice
from support.tensorrt_machine import FakeMachine, copied, small_artifact

PROMPTS = [[5] * 20, [9, 8, 7]]
RULES: list[dict[str, Any]] = [
    {"policy": "one-per-step", "block_length": 8},
    {"policy": "dawn", "fallback_length": 0},
    {"policy": "one-per-step", "cache": "dual", "block_length": 8},
]


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    """Threads change places as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="module")
def portable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_artifact(tmp_path_factory.mktemp("threads"), precision="fp32")


Opened = tuple[Engine, Engine]


@pytest.fixture(params=["cpu", "device", "tensorrt"])
def engines(
    request: pytest.FixtureRequest,
    portable: Path,
    tmp_path: Path,
    host: HostDevice,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Opened]:
    """An engine that threads share, and one for what is expected."""
    artifact = Artifact.open(portable)
    graph, manifest = artifact.path(GRAPH_FILE), artifact.manifest
    alone = OrtEngine(graph, manifest, threads=1)
    shared: Engine = OrtEngine(graph, manifest, threads=1)
    if request.param == "device":
        shared = OrtDeviceEngine(graph, manifest, host, threads=1)
    if request.param == "tensorrt":
        driver, machine = request.getfixturevalue("driver"), FakeMachine(monkeypatch)
        machine.world.enqueue = driver._do
        machine.world.recording = lambda: driver._captured is not None
        monkeypatch.setattr(tensorrt_module, "CudaDevice", lambda: CudaDevice(driver=driver))
        folder = copied(portable, tmp_path / "artifact")
        machine.build(folder)
        shared = open_tensorrt(Artifact.open(folder))
    yield shared, alone
    shared.close()


def together(*works: Callable[[], object]) -> list[object]:
    """Runs each in a thread; what it returned, or its error."""
    found: list[object] = [None] * len(works)

    def run(index: int) -> None:
        try:
            found[index] = works[index]()
        except Exception as error:
            found[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def answer(decoder: Decoder, prompt: list[int], rules: dict[str, Any]) -> list[int]:
    result = decoder.generate(input_ids=prompt, max_new_tokens=16, stop_at_eos=False, **rules)
    return [int(token) for token in result.tokens]


@pytest.mark.parametrize("rules", RULES, ids=["plain", "graph", "cache"])
def test_answers_of_two_threads_are_those_of_one(
    rules: dict[str, Any], engines: Opened, portable: Path
) -> None:
    manifest = Artifact.open(portable).manifest
    decoder, alone = Decoder(manifest, engines[0]), Decoder(manifest, engines[1])
    expected = [answer(alone, prompt, rules) for prompt in PROMPTS]

    def work(index: int) -> list[list[int]]:
        return [answer(decoder, PROMPTS[index], rules) for _ in range(4)]

    assert together(lambda: work(0), lambda: work(1)) == [[one] * 4 for one in expected]


def test_runs_of_two_threads_without_a_decoder_are_those_of_one(engines: Opened) -> None:
    def inputs(length: int) -> StepInputs:
        ids = np.random.default_rng(length).integers(0, 30, (1, length))
        rows, mask = np.arange(length)[None], np.ones((1, 1, length, length), dtype=bool)
        return StepInputs(ids, rows, mask, rows, rows)

    def work(length: int) -> list[list[int]]:
        return [engines[0].run(inputs(length)).tokens.tolist() for _ in range(20)]

    expected = [[engines[1].run(inputs(length)).tokens.tolist()] * 20 for length in (20, 7)]
    assert together(lambda: work(20), lambda: work(7)) == expected


def test_closing_waits_for_the_step_and_ends_the_answer_in_one_line(
    engines: Opened, portable: Path
) -> None:
    manifest = Artifact.open(portable).manifest
    decoder, started = Decoder(manifest, engines[0]), threading.Event()

    def work() -> None:
        while True:
            started.set()
            answer(decoder, PROMPTS[0], RULES[0])

    def close() -> None:
        started.wait()
        engines[0].close()

    error, nothing = together(work, close)
    assert nothing is None
    assert isinstance(error, EngineError)
    assert "closed; open the artifact again" in str(error)


def test_steps_on_an_engine_that_says_nothing_are_taken_in_turns() -> None:
    class Alone(FakeEngine):
        concurrent = False
        busy = 0

        def run(self, inputs: StepInputs) -> StepOutputs:
            self.busy += 1
            found = super().run(inputs)
            assert self.busy == 1, "two steps at once"
            self.busy -= 1
            return found

    decoder = Decoder(MANIFEST, Alone(MANIFEST))  # type: ignore[arg-type]
    works = [lambda: answer(decoder, PROMPTS[1], RULES[0])] * 4
    expected = answer(Decoder(MANIFEST, FakeEngine(MANIFEST)), PROMPTS[1], RULES[0])
    assert together(*works) == [expected] * 4


@pytest.mark.parametrize("rules", RULES, ids=["plain", "graph", "cache"])
def test_streams_on_one_device_take_turns(
    rules: dict[str, Any], host_libraries: dict[str, ctypes.CDLL], driver: FakeDriver
) -> None:
    fake = FakeEngine(MANIFEST, HashModel(32, 3))
    shared = HostEngine(fake, CudaDevice(driver=driver))  # type: ignore[arg-type]
    decoder, alone = Decoder(MANIFEST, shared), Decoder(MANIFEST, fake)

    def watch(one: Decoder, prompt: list[int]) -> list[Any]:
        return list(one.watch(input_ids=prompt, max_new_tokens=16, stop_at_eos=False, **rules))

    expected = [watch(alone, prompt) for prompt in PROMPTS]
    assert together(*(lambda p=p: watch(decoder, p) for p in PROMPTS)) == expected  # type: ignore[misc]


def test_each_item_of_a_shared_stream_goes_to_one_thread() -> None:
    decoder = Decoder(MANIFEST, FakeEngine(MANIFEST))
    rules: dict[str, Any] = {"max_new_tokens": 60, "policy": "one-per-step", "stop_at_eos": False}
    stream = decoder.watch(input_ids=[1, 2], **rules)
    parts = together(*[lambda: list(stream)] * 3)
    expected = decoder.generate(input_ids=[1, 2], **rules).trace
    commits = [commit for part in parts for step in part for commit in step]  # type: ignore[attr-defined]
    assert sorted(commits, key=lambda commit: commit.step) == list(expected)
    assert stream.result.trace == expected


def test_cancelling_and_closing_from_another_thread_end_the_iteration() -> None:
    for end in ("cancel", "close"):
        decoder = Decoder(MANIFEST, FakeEngine(MANIFEST))
        rules: dict[str, Any] = {"max_new_tokens": 80, "policy": "one-per-step"}
        stream = decoder.watch(input_ids=[1, 2], stop_at_eos=False, **rules)
        first = next(stream)
        rest, nothing = together(lambda s=stream: list(s), getattr(stream, end))  # type: ignore[misc]
        assert nothing is None
        assert isinstance(rest, list)
        assert stream.result.trace == tuple(c for step in (first, *rest) for c in step)


def test_a_lock_is_the_same_for_an_engine_and_its_own_for_another() -> None:
    class Plain(FakeEngine):
        concurrent = False

    one, other = Plain(MANIFEST), Plain(MANIFEST)  # type: ignore[arg-type]
    assert exclusive(one) is exclusive(one)
    assert exclusive(one) is not exclusive(other)
    with exclusive(one), exclusive(one):
        pass
