"""What dawn-doctor finds in hardware: GPU, Jetson, memory."""

import ctypes
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dawn_runtime.contract import ACTIVATION_DTYPES
from dawn_runtime.cuda.nvrtc import Nvrtc, read_nvrtc
from dawn_runtime.doctor.finding import Finding
from dawn_runtime.doctor.gpu import gpu_findings
from dawn_runtime.doctor.jetson import jetson_finding, parse_l4t
from dawn_runtime.doctor.memory import memory_finding
from dawn_runtime.doctor.nvrtc import nvrtc_findings
from dawn_runtime.engine.fake import fake_manifest
from dawn_runtime.machine.driver import Cuda, Gpu, parse_cuda, precisions, query
from dawn_runtime.machine.memory import (
    ACTIVATION_BYTES,
    BASE_BYTES,
    need,
    parse_meminfo,
    read_available,
)

ORIN = Gpu("Orin", (8, 7), integrated=True, free_bytes=2**30, total_bytes=2**33)


def levels(findings: list[Finding]) -> list[str]:
    return [finding.level for finding in findings]


# GPU


class FakeDriver:
    """libcuda of a machine with one Orin; `broken` is a function that fails."""

    def __init__(self, broken: str = "") -> None:
        self.attributes = {18: 1, 75: 8, 76: 7}
        self.broken = broken
        self.released = 0

    def __getattr__(self, name: str) -> Any:
        if name == self.broken:
            return lambda *_: 100
        return getattr(self, f"_{name}")

    def _cuInit(self, _: int) -> int:  # noqa: N802 - names of the driver
        return 0

    def _cuDriverGetVersion(self, out: Any) -> int:  # noqa: N802
        out._obj.value = 12060
        return 0

    def _cuDeviceGetCount(self, out: Any) -> int:  # noqa: N802
        out._obj.value = 1
        return 0

    def _cuDeviceGet(self, out: Any, ordinal: int) -> int:  # noqa: N802
        out._obj.value = ordinal + 5
        return 0

    def _cuDeviceGetName(self, out: Any, size: int, device: ctypes.c_int) -> int:  # noqa: N802
        out.value = b"Orin"
        return 0 if (size, device.value) == (256, 5) else 1

    def _cuDeviceGetAttribute(self, out: Any, number: int, _: Any) -> int:  # noqa: N802
        out._obj.value = self.attributes[number]
        return 0

    def _cuDevicePrimaryCtxRetain(self, out: Any, _: Any) -> int:  # noqa: N802
        out._obj.value = 7
        return 0

    def _cuCtxSetCurrent(self, context: ctypes.c_void_p) -> int:  # noqa: N802
        return 0 if context.value == 7 else 1

    def _cuMemGetInfo_v2(self, free: Any, total: Any) -> int:  # noqa: N802
        free._obj.value, total._obj.value = 2**30, 2**33
        return 0

    def _cuDevicePrimaryCtxRelease_v2(self, _: Any) -> int:  # noqa: N802
        self.released += 1
        return 0


def test_the_driver_tells_version_capability_and_memory() -> None:
    driver = FakeDriver()
    assert query(driver) == Cuda((12, 6), (ORIN,))
    assert driver.released == 1


@pytest.mark.parametrize("name", ["cuInit", "cuDeviceGetCount", "cuCtxSetCurrent"])
def test_a_driver_that_fails_is_named_with_the_function(name: str) -> None:
    found = query(FakeDriver(broken=name))
    assert found.gpus == ()
    assert f"{name} fails with CUresult 100" in found.reason


def test_what_the_driver_said_survives_json() -> None:
    document = {
        "version": [12, 6],
        "reason": "",
        "gpus": [
            {
                "name": "Orin",
                "capability": [8, 7],
                "integrated": True,
                "free_bytes": 2**30,
                "total_bytes": 2**33,
            }
        ],
    }
    assert parse_cuda(document) == Cuda((12, 6), (ORIN,))
    assert parse_cuda({"version": None, "reason": "none", "gpus": []}) == Cuda(reason="none")


@pytest.mark.parametrize(
    ("found", "needed", "level", "text"),
    [
        (Nvrtc((12, 6)), True, "ok", "NVRTC is of CUDA 12.6"),
        (Nvrtc((12, 9)), True, "ok", "NVRTC is of CUDA 12.9"),
        (Nvrtc((13, 5)), True, "problem", "NVRTC is of CUDA 13.5, the driver runs CUDA up to 12.6"),
        (Nvrtc((13, 5)), False, "note", "cannot load its kernels"),
        (Nvrtc(reason="no libnvrtc"), True, "problem", "no kernels: no libnvrtc"),
    ],
)
def test_an_nvrtc_that_is_newer_than_the_driver_is_found(
    found: Nvrtc, needed: bool, level: str, text: str
) -> None:
    (finding,) = nvrtc_findings(found, Cuda((12, 6), (ORIN,)), needed=needed)
    assert (finding.level, text in finding.found) == (level, True)
    assert level == "ok" or "nvidia-cuda-nvrtc-cu12==12.6.*" in finding.advice
    assert nvrtc_findings(found, Cuda((12, 6)), needed=True) == []


def test_the_nvrtc_of_this_machine_is_read_or_the_reason() -> None:
    found = read_nvrtc()
    assert (found.version is None) == bool(found.reason)


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((6, 1), ""),
        ((7, 0), "fp16"),
        ((7, 5), "fp16 int8"),
        ((8, 7), "fp16 int8 bf16"),
        ((8, 9), "fp16 int8 bf16 fp8"),
        ((9, 0), "fp16 int8 bf16 fp8"),
        ((11, 0), "fp16 int8 bf16 fp8 fp4"),
        ((12, 0), "fp16 int8 bf16 fp8 fp4"),
    ],
)
def test_precisions_of_a_compute_capability(capability: tuple[int, int], expected: str) -> None:
    assert precisions(capability) == tuple(expected.split())


@pytest.mark.parametrize(
    ("found", "provider", "precision", "needed", "expected"),
    [
        (Cuda(reason="libcuda.so.1: not there"), None, None, False, "note"),
        (Cuda(reason="libcuda.so.1: not there"), None, "fp16", True, "problem"),
        (Cuda((12, 6)), None, None, False, "note"),
        (Cuda((12, 6), (ORIN,)), 12, "fp16", True, "ok ok"),
        (Cuda((12, 6), (ORIN,)), 13, None, False, "problem ok"),
        (Cuda((12, 6), (ORIN,)), None, "fp8", True, "ok problem"),
        (Cuda((12, 6), (ORIN,)), None, "fp8", False, "ok ok"),
    ],
)
def test_driver_and_precision_are_judged(
    found: Cuda, provider: int | None, precision: str | None, needed: bool, expected: str
) -> None:
    findings = gpu_findings(found, provider_cuda=provider, precision=precision, needed=needed)
    assert levels(findings) == expected.split()


# Jetson

RELEASE = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, "
    "DATE: Wed Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot"
)


def test_board_and_jetpack_are_named() -> None:
    finding = jetson_finding(RELEASE, "NVIDIA Jetson AGX Orin Developer Kit")
    assert finding == Finding(
        "ok",
        "jetson",
        "NVIDIA Jetson AGX Orin Developer Kit, L4T 36.4.3: JetPack 6.1 or 6.2, CUDA 12.6, "
        "TensorRT 10.3",
    )


@pytest.mark.parametrize(
    ("release", "level"),
    [
        ("# R35 (release), REVISION: 4.1, GCID: 1", "problem"),
        ("# R77 (release), REVISION: 1, GCID: 1", "note"),
        ("gibberish", "note"),
    ],
)
def test_other_releases_are_told_apart(release: str, level: str) -> None:
    finding = jetson_finding(release, None)
    assert finding is not None
    assert (finding.level, "unknown model" in finding.found) == (level, True)


def test_other_machines_are_no_jetson() -> None:
    assert jetson_finding(None, "Some board") is None
    assert parse_l4t("# R38 (release), REVISION: 2, GCID: 1") == (38, 2, 0)


# Memory


def test_all_activations_have_a_size() -> None:
    assert ACTIVATION_BYTES.keys() == ACTIVATION_DTYPES.keys()


def test_the_need_is_the_formula() -> None:
    manifest = fake_manifest(vocab_size=300, max_length=256)
    dims = manifest.dims
    found = need(manifest, length=64, batch=2, on_gpu=False)
    kept = 2 * dims.layers * dims.kv_heads * dims.head_dim * 64 * 4
    assert found.cache == 2 * kept
    assert need(manifest, length=64, batch=1, on_gpu=True).cache == 2 * kept
    assert need(manifest, length=64, batch=2, on_gpu=True).cache == 3 * 2 * kept
    assert found.activations == (
        2 * 64 * (4 * dims.hidden + 18 * dims.hidden) * 4
        + 2 * 2 * dims.heads * 64 * 64 * 4
        + 2 * 2 * 32 * 300 * 4
    )
    assert found.total == found.weights + found.cache + found.activations + BASE_BYTES


@pytest.mark.parametrize("activations", ["fp32", "fp16"])
def test_keys_in_bytes_need_their_bytes_whatever_the_activations_are(activations: str) -> None:
    manifest = fake_manifest(vocab_size=300, max_length=256)
    dims = replace(manifest.dims, head_dim=128)
    manifest = replace(
        manifest, dims=dims, kv="int8", precision=activations, activations=activations
    )
    kept = 2 * dims.layers * dims.kv_heads * 136 * 64
    assert need(manifest, length=64, batch=1, on_gpu=False).cache == kept
    assert need(manifest, length=64, batch=2, on_gpu=True).cache == 3 * 2 * kept


def test_memory_is_what_the_machine_or_its_control_group_has_left(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  100 kB\nMemFree:  10 kB\nMemAvailable:   50 kB\n")
    assert parse_meminfo(meminfo.read_text()) == 50 * 1024
    assert parse_meminfo("MemFree: 3 kB") == 0
    assert read_available(meminfo, tmp_path) == 50 * 1024
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 400\n")
    for limit, expected in (("max", 50 * 1024), ("3000", 2400), ("1000000", 50 * 1024)):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        assert read_available(meminfo, tmp_path) == expected


@pytest.mark.parametrize(
    ("missing", "needed", "level"), [(0, True, "ok"), (1, True, "problem"), (1, False, "note")]
)
def test_too_little_memory_is_a_problem_where_the_artifact_runs(
    missing: int, needed: bool, level: str
) -> None:
    wanted = need(fake_manifest(), length=8, batch=1, on_gpu=True)
    finding = memory_finding(wanted, wanted.total - missing, "CPU", needed=needed)
    assert finding.level == level
