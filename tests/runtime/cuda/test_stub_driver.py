"""Both engines of a GPU under the real cuda-python, over a driver that does everything late."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cuda.bindings.driver", reason="the bindings that the driver is under")

from support.stub_driver import build_driver

ROOT = Path(__file__).parent.parent.parent.parent

WRONG = """
import json
from cuda.bindings import driver as cuda
from support.stub_driver import StubDriver
def call(name, *arguments):
    status, *results = getattr(cuda, name)(*arguments)
    return results[0] if results else status.name
stub, found = StubDriver(), {}
found["without a context"] = cuda.cuMemAlloc(4)[0].name
call("cuCtxSetCurrent", call("cuDevicePrimaryCtxRetain", 0))
stream, event, memory = call("cuStreamCreate", 1), call("cuEventCreate", 0), call("cuMemAlloc", 8)
call("cuEventRecord", event, stream)
found["too early"] = cuda.cuEventElapsedTime(event, event)[0].name
call("cuMemcpyHtoDAsync", memory, bytearray(9), 9, stream)
call("cuMemcpyHtoDAsync", memory, bytearray(8), 0, stream)
call("cuStreamBeginCapture", stream, cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
found["while capturing"] = cuda.cuMemFree(memory)[0].name
found["spoilt"] = cuda.cuStreamEndCapture(stream)[0].name
print(json.dumps([found, stub.problems(), stub.live()]))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Runs Python next to the driver; returns the JSON that it prints."""
    environment = build_driver(tmp_path_factory.mktemp("driver"))
    paths = [str(ROOT / "tests"), *sys.path]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))

    def python(*arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return python


@pytest.mark.parametrize(
    ("engine", "dialect", "rounds"), [("onnxruntime", "fused", 20), ("tensorrt", "portable", 15)]
)
def test_random_generations_are_those_of_the_cpu_and_leave_nothing(
    engine: str,
    dialect: str,
    rounds: int,
    exported: Callable[..., Path],
    run: Callable[..., Any],
) -> None:
    if engine == "tensorrt":
        pytest.importorskip("safetensors", reason="plans are built by the exporter")
    artifact = str(exported("dream", dialect))
    report = run("-m", "support.stub_generations", engine, artifact, "--rounds", str(rounds))
    assert report["differing"] == []
    assert report["problems"] == []
    assert report["left"] == {}
    assert report["answers"] >= rounds
    assert report["launches"] > rounds, "the kernels chose"
    assert (report["graphs"] > rounds) == (engine == "tensorrt")
    for name, taken in report["again"].items():
        assert taken[-1] == 0, f"{name} in an answer that was given before: {taken}"


def test_the_driver_notices_what_no_program_may_do(run: Callable[..., Any]) -> None:
    found, problems, left = run("-c", WRONG)
    assert found == {
        "without a context": "CUDA_ERROR_INVALID_CONTEXT",
        "too early": "CUDA_ERROR_NOT_READY",
        "while capturing": "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
        "spoilt": "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
    }
    assert problems == [
        "a copy of nothing",
        "cuMemAlloc_v2 without a context",
        "cuMemFree_v2 while a graph is captured",
        "the time of an event that has not passed",
        "upload out of bounds",
    ]
    assert left == {"context": 1, "event": 1, "memory": 1, "stream": 1}
