"""The command for machines with a GPU: rehearsed on the CPU, and run where there is one."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gpu_check
from dawn_runtime.doctor.cuda import Cuda, read_cuda
from dawn_runtime.errors import DependencyError
from gpu_checks import endurance, parity
from gpu_checks.outcome import CheckError, attempt

ROOT = Path(__file__).parent.parent.parent
Exported = Callable[..., Path]


def test_a_machine_without_a_gpu_is_one_line_and_a_status_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_check, "read_cuda", lambda: Cuda(reason="libcuda.so.1: not found"))
    assert gpu_check.main(["build/anything"]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert (
        captured.err == "gpu_check: no NVIDIA GPU: libcuda.so.1: not found; nothing was checked\n"
    )


def test_the_command_stops_before_it_installs_anything_where_there_is_no_gpu() -> None:
    if read_cuda().gpus:
        pytest.skip("there is a GPU")
    done = subprocess.run(
        ["bash", "scripts/gpu_check.sh"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert done.stderr.startswith("gpu_check: no NVIDIA GPU: ")
    assert done.stderr.count("\n") == 1


def test_a_rehearsal_on_the_cpu_reports_every_check(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    flags = ["--engine", "onnxruntime-cpu", "--soak", "3", "--cycles", "2", "--no-tests"]
    status = gpu_check.main([str(exported("dream")), *flags, "--output", str(report)])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    found: dict[str, Any] = json.loads(captured.out)
    assert found == json.loads(report.read_text())
    assert {check["check"]: check["status"] for check in found["checks"]} == dict.fromkeys(
        ("speed", "numbers", "answers", "soak", "reopen"), "passed"
    )
    numbers = found["checks"][1]["measured"]["largest_difference"]
    assert numbers == {"confidence": 0, "attention": 0, "logits": 0, "tokens": 0}


def test_what_fails_and_what_is_not_installed_are_told_apart() -> None:
    def fail() -> dict[str, Any]:
        raise CheckError("too far off")

    def miss() -> dict[str, Any]:
        raise DependencyError("not installed")

    assert (attempt("a", None, "", fail).status, attempt("a", None, "", miss).status) == (
        "failed",
        "skipped",
    )
    with pytest.raises(ZeroDivisionError):
        attempt("a", None, "", lambda: {"x": 1 / 0})


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("family", ["dream", "llada"])
def test_onnxruntime_on_the_gpu_is_that_on_the_cpu(
    family: str, precision: str, exported: Exported
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime was built without CUDA")
    folder, name = exported(family, "fused", precision), "onnxruntime-cuda"
    parity.check_numbers(folder, name)
    parity.check_selection(folder, name)
    endurance.soak(folder, name, 30)
