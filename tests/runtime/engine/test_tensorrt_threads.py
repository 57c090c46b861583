"""Real threads on one TensorRT engine: they take turns, and answers are what they are alone.

The exporter builds the plan, so this is no test for where it is not installed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dawn_runtime import Artifact, Engine, Manifest
from dawn_runtime.cuda import CudaDevice
from dawn_runtime.engine.ort.cpu import OrtEngine
from dawn_runtime.engine.tensorrt import engine as tensorrt_module
from dawn_runtime.engine.tensorrt.engine import open_tensorrt
from dawn_runtime.manifest import GRAPH_FILE
from support.fake_driver import FakeDriver
from support.tensorrt_machine import FakeMachine, copied, small_artifact
from support.threads import RULES, check_answers, check_closing, check_runs, switching_often

Opened = tuple[Engine, Engine, Manifest]


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    with switching_often():
        yield


@pytest.fixture(scope="module")
def portable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_artifact(tmp_path_factory.mktemp("threads"), precision="fp32")


@pytest.fixture
def engines(
    portable: Path, tmp_path: Path, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Opened]:
    """An engine that threads share, and one for what is expected."""
    machine = FakeMachine(monkeypatch)
    machine.world.enqueue = driver._do
    machine.world.recording = lambda: driver._captured is not None
    monkeypatch.setattr(tensorrt_module, "CudaDevice", lambda: CudaDevice(driver=driver))
    folder = copied(portable, tmp_path / "artifact")
    machine.build(folder)
    artifact = Artifact.open(folder)
    shared = open_tensorrt(artifact)
    alone = OrtEngine(artifact.path(GRAPH_FILE), artifact.manifest, threads=1)
    yield shared, alone, artifact.manifest
    shared.close()


@pytest.mark.parametrize("rules", RULES, ids=["plain", "graph", "cache"])
def test_answers_of_two_threads_are_those_of_one(rules: dict[str, Any], engines: Opened) -> None:
    check_answers(*engines, rules)


def test_runs_of_two_threads_without_a_decoder_are_those_of_one(engines: Opened) -> None:
    check_runs(*engines[:2])


def test_closing_waits_for_the_step_and_ends_the_answer_in_one_line(engines: Opened) -> None:
    check_closing(engines[0], engines[2])
