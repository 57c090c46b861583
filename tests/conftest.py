"""What tests of several packages share: exported checkpoints, devices that are none, the GPU."""

import ctypes
import fcntl
import os
import signal
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from dawn_runtime.machine.driver import read_cuda
from support.fake_driver import FakeDriver
from support.golden import GOLDEN
from support.host_device import HostDevice, compile_for_host

# No test is timed: one that is slow on a busy machine is not wrong.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# What a program does not write at once is seen late by who reads its pipe, unless this hides it.
os.environ.pop("PYTHONUNBUFFERED", None)

# A shell that starts us in the background (`nohup`, `&` in a script) has us ignore these, and so
# would every command that a test starts and interrupts.
for _number, _usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

Exported = Callable[..., Path]

MODELS = Path(__file__).parent.parent / "models"

_OURS = "scripts/test_transformers.sh"
PACKAGES = {
    "transformers": _OURS,
    "optimum": _OURS,
    "onnx-genai": _OURS,
    "lm-eval": _OURS,
}
"""Large packages that some tests need, each with what installs it."""


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Returns the artifact of a golden checkpoint: (family, dialect, precision) -> folder.

    Exported when it is first asked for, by whichever worker asks first; read-only by convention.
    Where the exporter is not installed they are taken from `$DAWN_TEST_ARTIFACTS`.
    """
    ready = os.environ.get("DAWN_TEST_ARTIFACTS")
    if ready is not None:
        return lambda family, dialect="fused", precision="fp32": (
            Path(ready) / f"{family}-{dialect}-{precision}"
        )
    shared = _shared_folder(tmp_path_factory)

    def artifact(family: str, dialect: str = "fused", precision: str = "fp32") -> Path:
        folder = shared / f"{family}-{dialect}-{precision}"
        return _once(GOLDEN / f"{family}-random", folder, dialect, precision)

    return artifact


@pytest.fixture(scope="session")
def exported_family(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Returns the artifact of a checkpoint of `support.golden_families`: (name, precision, kv)."""
    from support.golden_families import TOLD, folder_of

    shared = _shared_folder(tmp_path_factory)

    def artifact(name: str, precision: str = "fp32", kv: str = "float") -> Path:
        words = [name, *{precision, kv}.difference(("fp32", "float"))]
        folder = shared / "-".join(words)
        return _once(folder_of(name), folder, "fused", precision, 3, TOLD[name], kv)

    return artifact


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Returns the artifact of a shipped model: (name, precision) -> folder; as `exported`."""
    shared = _shared_folder(tmp_path_factory)

    def artifact(name: str, precision: str = "fp32") -> Path:
        return _once(MODELS / name, shared / f"{name}-{precision}", "fused", precision)

    return artifact


@pytest.fixture(scope="session")
def host_libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ctypes.CDLL]:
    """The kernels of `dawn_runtime/cuda`, compiled for the host."""
    return compile_for_host(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def host(host_libraries: dict[str, ctypes.CDLL]) -> HostDevice:
    """A device over host memory."""
    return HostDevice(host_libraries)


@pytest.fixture
def driver(host_libraries: dict[str, ctypes.CDLL], monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """A CUDA driver over host memory."""
    monkeypatch.setattr("dawn_runtime.cuda.gpu.cubin", lambda file, _: file.encode())
    monkeypatch.setattr("dawn_runtime.cuda.gpu.nvrtc_version", lambda: (12, 6))
    return FakeDriver(host_libraries)


def _shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Workers have a folder each inside the one they share."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "artifacts"
    shared.mkdir(exist_ok=True)
    return shared


def _once(
    checkpoint: Path,
    folder: Path,
    dialect: str,
    precision: str,
    evidence_layers: int = 4,
    told: Any = None,
    kv: str = "float",
) -> Path:
    """Exports a checkpoint unless a worker has done so."""
    from dawn_export import ExportOptions, export

    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            options = ExportOptions(
                dialect=dialect, precision=precision, evidence_layers=evidence_layers, kv=kv
            )
            export(checkpoint, folder, options, told=told)
    return folder


@cache
def _no_gpu() -> str:
    """Why there is no GPU to test on; empty if there is one."""
    found = read_cuda()
    return "" if found.gpus else f"no NVIDIA GPU: {found.reason}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips tests that need a GPU, or a large package, where there is none."""
    if item.get_closest_marker("gpu") and _no_gpu():
        pytest.skip(_no_gpu())
    for name, by in PACKAGES.items():
        if item.get_closest_marker(name.replace("-", "_")) and not _installed(name):
            pytest.skip(f"{name} is not installed: {by} installs it")


@cache
def _installed(distribution: str) -> bool:
    """Whether a distribution is there; its folder alone may be another one's."""
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
