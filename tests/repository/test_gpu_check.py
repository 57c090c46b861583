"""The command for machines with a GPU: rehearsed on the CPU, and run where there is one."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gpu_check
from dawn_runtime.artifact import read_manifest
from dawn_runtime.engine.tensorrt.plans import read_plans
from dawn_runtime.errors import DependencyError
from dawn_runtime.machine.driver import Cuda, read_cuda
from gpu_checks import endurance, parity, preparation
from gpu_checks.isolated import run_isolated
from gpu_checks.outcome import CheckError, Outcome, attempt
from gpu_checks.preparation import build, export_model, plan_folder, shipped
from support.tensorrt_machine import FakeMachine

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
    exported: Exported,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GPU_CHECK_LEFT_OUT", "TensorRT: no plan is built or run\n")
    report = tmp_path / "report.json"
    flags = ["--engine", "onnxruntime-cpu", "--soak", "3", "--cycles", "2", "--no-tests"]
    flags += ["--repeat", "1", "--output", str(report)]
    status = gpu_check.main([str(exported("dream")), *flags])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    found: dict[str, Any] = json.loads(captured.out)
    assert found == json.loads(report.read_text())
    assert found["complete"] is True
    assert found["left_out"] == ["TensorRT: no plan is built or run"]
    assert found["machine"]["packages"]["onnxruntime"]
    assert [finding["level"] for finding in found["machine"]["doctor"]["findings"]]
    assert {check["check"]: check["status"] for check in found["checks"]} == dict.fromkeys(
        ("speed", "numbers", "answers", "soak", "reopen"), "passed"
    )
    assert list(found["checks"][0]["measured"]["steps"]) == ["96"]
    numbers = found["checks"][1]["measured"]["largest_difference"]
    assert numbers == {"confidence": 0, "attention": 0, "logits": 0, "tokens": 0}


def test_what_fails_and_what_is_not_installed_are_told_apart_and_nothing_comes_through() -> None:
    def fail() -> dict[str, Any]:
        raise CheckError("too far off")

    def miss() -> dict[str, Any]:
        raise DependencyError("not installed")

    assert (attempt("a", None, "", fail).status, attempt("a", None, "", miss).status) == (
        "failed",
        "skipped",
    )
    unexpected = attempt("a", None, "", lambda: {"x": 1 / 0})
    assert (unexpected.status, unexpected.reason) == (
        "failed",
        "unexpected ZeroDivisionError: division by zero",
    )
    assert "1 / 0" in unexpected.traceback


@pytest.mark.parametrize(
    ("code", "limit", "reason"),
    [
        ("import os; os.kill(os.getpid(), 11)", 60, "ended by SIGSEGV without an outcome; its la"),
        ("raise SystemExit('out of luck')", 60, "exit 1 without an outcome; its last words: out "),
        ("import time; time.sleep(60)", 1, "killed after 1 s without an outcome; its last words"),
    ],
)
def test_a_check_that_takes_its_process_down_is_one_failed_check(
    code: str, limit: int, reason: str
) -> None:
    command = [sys.executable, "-c", code]
    outcome = run_isolated(command, "soak", Path("build/x"), "tensorrt", limit=limit)
    assert (outcome.check, outcome.artifact, outcome.engine) == ("soak", "x", "tensorrt")
    assert outcome.status == "failed"
    assert outcome.reason.startswith(reason)


def test_the_report_is_there_after_every_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, seen = tmp_path / "report.json", []

    def interrupted(_: Any, check: str, *__: Any, **___: Any) -> Outcome:
        if report.exists():
            seen.append(json.loads(report.read_text()))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return Outcome(check, "x", "", "passed", 0.0, "", {})

    monkeypatch.setattr(gpu_check, "run_isolated", interrupted)
    monkeypatch.setattr(gpu_check, "describe", lambda _: {})
    arguments = ["x", "--engine", "onnxruntime-cpu", "--no-tests", "--output", str(report)]
    assert gpu_check.main(arguments) == 130
    assert [(one["complete"], len(one["checks"])) for one in seen] == [(False, 1), (False, 2)]


def tasks_of(*arguments: str) -> list[tuple[str, str, str]]:
    return [
        (task.check, task.subject.folder.name if task.subject else "", task.engine)
        for task in gpu_check._tasks(gpu_check._parser().parse_args(arguments))
    ]


def test_shipped_models_are_exported_and_checked_with_every_engine_the_long_checks_last() -> None:
    tasks = tasks_of()
    checks = [check for check, _, _ in tasks]
    assert checks.count("export") == len(list(shipped())) == 10
    assert checks[10] == "tests"
    assert checks.count("plan") == 4
    first = min(checks.index("soak"), checks.index("reopen"))
    assert set(checks[first:]) == {"soak", "reopen"}
    for engine in ("onnxruntime-cuda", "onnxruntime-cuda+graphs", "tensorrt"):
        assert ("selection", f"tiny-dream-fp16-{dialect_of(engine)}", engine) in tasks
    assert {engine for check, _, engine in tasks if check == "speed"} >= {"onnxruntime-cpu"}


def test_tests_for_the_gpu_are_where_they_are_looked_for_and_need_no_exporter() -> None:
    tests = sorted((ROOT / "tests" / "runtime").rglob("test_*.py"))
    on_gpu = [path for path in tests if "any_device" in path.read_text(encoding="utf-8")]
    assert {path.parent.relative_to(ROOT).as_posix() for path in on_gpu} == set(gpu_check.TESTS)
    without = ("torch", "onnx", "onnx_ir", "onnxscript", "safetensors")
    code = f"import sys; sys.modules.update(dict.fromkeys({without}))\nimport pytest; pytest.main()"
    flags = ["--collect-only", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-c", code, *flags, *gpu_check.TESTS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "error" not in done.stdout, done.stdout
    assert "[gpu]" in done.stdout


def test_random_weights_of_a_real_geometry_are_timed_and_nothing_else() -> None:
    tasks = [task for task in tasks_of() if task[1].startswith("random-0.5b")]
    assert [(check, engine) for check, _, engine in tasks] == [
        *(("export", ""), ("export", "")),
        *((check, "onnxruntime-cuda") for check in ("nodes", "speed", "memory")),
        *((check, "onnxruntime-cuda+graphs") for check in ("nodes", "speed", "memory")),
        *((check, "tensorrt") for check in ("speed-plan", "speed", "memory")),
    ]


def dialect_of(engine: str) -> str:
    return "portable" if engine == "tensorrt" else "fused"


def test_an_artifact_by_name_is_checked_with_the_engines_by_name() -> None:
    tasks = tasks_of("build/mine", "--engine", "tensorrt", "--no-tests")
    assert tasks[:3] == [
        ("speed", "mine", "onnxruntime-cpu"),
        *(("plan", "mine", "tensorrt"), ("speed-plan", "mine", "tensorrt")),
    ]
    assert {engine for _, _, engine in tasks[3:]} == {"tensorrt"}


def test_the_plan_of_the_checks_lies_apart_and_has_what_they_need(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = exported("dream")  # before there is a module `tensorrt`, which torch would look at
    FakeMachine(monkeypatch, "11.4.0")
    monkeypatch.setattr(preparation, "BUILD", tmp_path / "build")
    before = sorted(path.name for path in artifact.iterdir())
    for _ in range(2):
        report = build(artifact)
    assert Path(report["path"]).parent == plan_folder(artifact)
    assert sorted(path.name for path in artifact.iterdir()) == before
    (record,) = read_plans(plan_folder(artifact))
    assert record.logits
    assert record.profiles[-1].ranges["B"][2] == 4
    build(artifact, "speed")
    (timed,) = read_plans(plan_folder(artifact, "speed"))
    assert timed.profiles[-1].ranges["B"][2] == 1
    assert timed.profiles[0].ranges["S"][2] == read_manifest(artifact).dims.max_length


def test_a_folder_of_no_shipped_model_is_not_exported_over(tmp_path: Path) -> None:
    with pytest.raises(CheckError, match="a folder that no shipped model is exported to"):
        export_model(tmp_path)


def test_one_check_can_be_looked_at_more_closely(
    exported: Exported, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = str(exported("dream"))
    reference = ["--engine", "onnxruntime-cpu"]
    assert gpu_check.main([artifact, *reference, "--only", "numbers"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert (outcome["check"], outcome["status"]) == ("numbers", "passed")
    assert gpu_check.main([artifact, *reference, "--only", "nothing"]) == 2
    assert "--only: got 'nothing'" in capsys.readouterr().err


DRIVER = """
int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *version) { *version = VERSION; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
"""
PYTHON = """#!/bin/bash
case "$*" in
"-m pip "*) echo "pip ${*:3}" >>"$CALLS"; [[ "$*" != *onnxruntime-gpu* || -z "$NO_WHEEL" ]] ;;
"-c import tensorrt"*) exit 1 ;;
*gpu_check.py*) printf '%s' "$GPU_CHECK_LEFT_OUT" ;;
esac
"""


@pytest.fixture
def rehearse(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the script in a copy, with a driver that is none and a Python that only takes notes."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    (tmp_path / ".venv-gpu" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv-gpu" / "bin" / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)

    def run(version: int, **environment: str) -> subprocess.CompletedProcess[str]:
        source = tmp_path / "driver.c"
        source.write_text(DRIVER.replace("VERSION", str(version)))
        library = tmp_path / "libcuda.so.1"
        subprocess.run(["cc", "-shared", "-o", library, source], check=True)
        return subprocess.run(
            ["bash", "scripts/gpu_check.sh"],
            cwd=tmp_path,
            env={
                **{name: value for name, value in os.environ.items() if name != "GPU_CHECK_CUDA"},
                "LD_LIBRARY_PATH": str(tmp_path),
                "CALLS": str(tmp_path / "calls"),
                "NO_WHEEL": "",
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize(("driver", "extra"), [(12060, ".[tensorrt-cu12]"), (13000, ".[tensorrt]")])
def test_packages_are_of_the_cuda_of_the_driver(
    driver: int,
    extra: str,
    rehearse: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    done = rehearse(driver)
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text()
    assert f"--editable {extra}\n" in calls
    assert ("onnxruntime-gpu" in calls) == (driver >= 13000)
    assert ("onnxruntime-gpu: the releases" in done.stdout) == (driver < 13000)
    assert "pip install --quiet --disable-pip-version-check onnxruntime\n" in calls, "beside it"
    assert "TensorRT: no plan is built or run" in done.stdout


def test_a_wheel_that_is_not_there_is_named_in_the_report(
    rehearse: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    assert "no wheel for this machine" in rehearse(13000, NO_WHEEL="yes").stdout


@pytest.mark.parametrize(("driver", "asked"), [(11080, {}), (13000, {"GPU_CHECK_CUDA": "new"})])
def test_cuda_that_there_are_no_packages_of_is_refused(
    driver: int,
    asked: dict[str, str],
    rehearse: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    done = rehearse(driver, **asked)
    assert done.returncode == 1
    assert re.fullmatch(r"gpu_check: got CUDA (11|new), expected 12 or newer; .*\n", done.stderr)
    assert not (tmp_path / "calls").exists()


def test_packages_newer_than_the_driver_are_refused_before_any_is_installed(
    rehearse: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = rehearse(12060, GPU_CHECK_CUDA="13")
    assert done.returncode == 1
    assert done.stderr == "gpu_check: GPU_CHECK_CUDA=13, but the driver runs CUDA 12; unset it\n"
    assert not (tmp_path / "calls").exists()


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
