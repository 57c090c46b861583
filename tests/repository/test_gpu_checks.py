"""The checks for machines with a GPU, on a fake TensorRT: its plan is one for all of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("safetensors", reason="the fake machine comes with the exporter")

from gpu_checks import endurance, nodes, parity, preparation, speed
from gpu_checks.outcome import CheckError
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
        partial(speed.measure, repeat=1, lengths=(96,)),
        endurance.memory,
        partial(endurance.soak, generations=30),
        partial(endurance.reopen, cycles=3),
    ],
    ids=["numbers", "answers", "selection", "speed", "memory", "soak", "reopen"],
)
def test_a_check_passes_on_a_plan_that_was_built_for_it(check: Check, planned: Path) -> None:
    assert check(planned, "tensorrt")


def test_speed_says_at_each_length_whether_a_step_is_within_the_budget(planned: Path) -> None:
    assert speed.LENGTHS == (96, 512, 1024, 4096)
    found = speed.measure(planned, "tensorrt", 1, (96, 10**6))
    assert (found["budget_us"], list(found["steps"])) == (30.0, ["96"])
    *lines, last = found["said"]
    assert [line.split(":")[0] for line in lines] == [
        f"length 96, {policy} {cache} cuda"
        for policy in ("dawn", "threshold")
        for cache in ("none", "dual")
    ]
    taken = found["steps"]["96"]["dawn dual cuda"]["outside_us_per_step"]
    verdict = "within" if taken <= 30 else "over"
    assert lines[1].endswith(
        f"{taken:.1f} us a step beside the engine, {verdict} the budget of 30 us"
    )
    assert last == "length 1000000: longer than the artifact is for"


def test_nodes_are_counted_by_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    places: dict[str, dict[str, int]] = {}

    @contextmanager
    def opened(*_: Any) -> Iterator[tuple[None, Any]]:
        yield None, SimpleNamespace(nodes=lambda: places)

    monkeypatch.setattr(nodes, "opened", opened)
    with pytest.raises(CheckError, match="does not say where nodes are computed"):
        nodes.count(Path("x"), "onnxruntime-cuda")
    places |= {
        "CUDAExecutionProvider": {"Add": 2, "MatMul": 9},
        "CPUExecutionProvider": {"Shape": 3},
    }
    found = nodes.count(Path("x"), "onnxruntime-cuda")
    assert found["nodes"] == places
    assert found["said"] == [
        "CUDAExecutionProvider: 11 nodes, most of them 9 MatMul, 2 Add",
        "CPUExecutionProvider: 3 nodes, most of them 3 Shape",
    ]
