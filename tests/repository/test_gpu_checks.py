"""The checks for machines with a GPU, on a fake TensorRT: its plan is one for all of them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("safetensors", reason="the fake machine comes with the exporter")

from gpu_checks import endurance, parity, preparation, speed
from support.fake_driver import FakeDriver
from support.tensorrt_machine import FakeMachine

Exported = Callable[..., Path]
Check = Callable[[Path, str], dict[str, Any]]


@pytest.fixture
def planned(
    exported: Exported, driver: FakeDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The folder of a plan for the checks."""
    artifact = exported("dream")  # before there is a module `tensorrt`, which torch would look at
    machine = FakeMachine(monkeypatch, "11.4.0")
    machine.world.enqueue = driver._do
    monkeypatch.setattr("dawn_runtime.cuda.gpu._import", lambda: driver)
    monkeypatch.setattr(preparation, "BUILD", tmp_path)
    preparation.build(artifact)
    return preparation.plan_folder(artifact)


@pytest.mark.parametrize(
    "check",
    [
        parity.check_numbers,
        parity.check_answers,
        parity.check_selection,
        partial(speed.measure, repeat=1),
        endurance.memory,
        partial(endurance.soak, generations=30),
        partial(endurance.reopen, cycles=3),
    ],
    ids=["numbers", "answers", "selection", "speed", "memory", "soak", "reopen"],
)
def test_a_check_passes_on_a_plan_that_was_built_for_it(check: Check, planned: Path) -> None:
    assert check(planned, "tensorrt")
