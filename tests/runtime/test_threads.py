"""Real threads on one engine: answers are what they would be alone, whichever engine it is."""

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dawn_runtime import Artifact, Decoder, Engine, Manifest, StepInputs, StepOutputs
from dawn_runtime.cuda import CudaDevice
from dawn_runtime.engine.exclusive import exclusive
from dawn_runtime.engine.fake import FakeEngine, HashModel
from dawn_runtime.engine.ort.cpu import OrtEngine
from dawn_runtime.engine.ort.device import OrtDeviceEngine
from dawn_runtime.manifest import GRAPH_FILE
from support.decoding import MANIFEST
from support.device_engine import HostEngine
from support.fake_driver import FakeDriver
from support.host_device import HostDevice
from support.threads import (
    PROMPTS,
    RULES,
    answer,
    check_answers,
    check_closing,
    check_runs,
    switching_often,
    together,
)

Opened = tuple[Engine, Engine, Manifest]


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    with switching_often():
        yield


@pytest.fixture(params=["cpu", "device"])
def engines(
    request: pytest.FixtureRequest, exported: Callable[..., Path], host: HostDevice
) -> Iterator[Opened]:
    """An engine that threads share, and one for what is expected."""
    artifact = Artifact.open(exported("dream", "portable"))
    graph, manifest = artifact.path(GRAPH_FILE), artifact.manifest
    shared: Engine = OrtEngine(graph, manifest, threads=1)
    if request.param == "device":
        shared = OrtDeviceEngine(graph, manifest, host, threads=1)
    yield shared, OrtEngine(graph, manifest, threads=1), manifest
    shared.close()


@pytest.mark.parametrize("rules", RULES, ids=["plain", "graph", "cache"])
def test_answers_of_two_threads_are_those_of_one(rules: dict[str, Any], engines: Opened) -> None:
    check_answers(*engines, rules)


def test_runs_of_two_threads_without_a_decoder_are_those_of_one(engines: Opened) -> None:
    check_runs(*engines[:2])


def test_closing_waits_for_the_step_and_ends_the_answer_in_one_line(engines: Opened) -> None:
    check_closing(engines[0], engines[2])


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
