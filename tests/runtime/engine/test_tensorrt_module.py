"""Finding TensorRT: which module, which version, and what it complains about."""

import sys
from types import ModuleType

import pytest

from dawn_runtime.engine.tensorrt.module import TensorRT, find_tensorrt, make_log, reason, release
from dawn_runtime.errors import DependencyError
from support.fake_tensorrt import fake_tensorrt
from support.fake_tensorrt_world import Severity


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_lean", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)


def install(monkeypatch: pytest.MonkeyPatch, name: str, version: str) -> ModuleType:
    module = fake_tensorrt(version)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def test_versions_are_compared_as_numbers() -> None:
    assert release("10.13.2") == (10, 13, 2)
    assert release("10.13.2") > release("10.3.0")


def test_the_full_module_comes_before_the_lean_one_and_that_of_rtx(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, "tensorrt_rtx", "1.7.1")
    assert find_tensorrt().name == "tensorrt_rtx 1.7.1"
    install(monkeypatch, "tensorrt_lean", "11.4.0")
    assert find_tensorrt().name == "tensorrt 11.4.0"
    install(monkeypatch, "tensorrt", "10.3.0")
    assert find_tensorrt().name == "tensorrt 10.3.0"


def test_the_lean_module_does_not_build(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "tensorrt_lean", "11.4.0")
    with pytest.raises(DependencyError, match=r"tensorrt or tensorrt_rtx builds plans and cannot"):
        find_tensorrt(builds=True, purpose="builds plans")


def test_a_release_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "tensorrt", "8.6.2")
    with pytest.raises(DependencyError, match=r"tensorrt 8\.6\.2 is installed, at least 10\.3"):
        find_tensorrt()


def test_the_log_keeps_the_last_errors_in_one_line() -> None:
    trt = TensorRT("tensorrt", fake_tensorrt("10.3.0"))
    log = make_log(trt)
    assert reason(log) == "TensorRT gave no reason"
    log.log(Severity.WARNING, "not this")
    for number in range(5):
        log.log(Severity.ERROR, f"error\n{number}")
    assert reason(log) == "error 2; error 3; error 4"
