"""The judgements of `dawn-doctor`, on made-up machines."""

import ctypes
import struct
from pathlib import Path
from typing import Any

import pytest

from dawn_runtime.contract import KV_DTYPES
from dawn_runtime.doctor.cuda import Cuda, Gpu, parse_cuda, query
from dawn_runtime.doctor.elf import needed_libraries
from dawn_runtime.doctor.finding import Finding, table
from dawn_runtime.doctor.gpu import gpu_findings, precisions
from dawn_runtime.doctor.isolated import Answer, ask, read_answer
from dawn_runtime.doctor.jetson import jetson_finding, parse_l4t
from dawn_runtime.doctor.memory import (
    BASE_BYTES,
    PRECISION_BYTES,
    memory_finding,
    need,
    parse_meminfo,
    read_available,
)
from dawn_runtime.doctor.onnx_bytes import GraphVersions, graph_versions, minimal_model
from dawn_runtime.doctor.providers import (
    CPU,
    OnnxRuntime,
    failure_of,
    opset_finding,
    provider_findings,
)
from dawn_runtime.doctor.tensorrt import (
    linked_major,
    major_of,
    newest_opset,
    tensorrt_findings,
    versions_in,
)
from dawn_runtime.doctor.versions import package_findings, parse_requirements, python_finding
from dawn_runtime.engine.fake import fake_manifest
from dawn_runtime.errors import ArtifactError, EngineError

ORIN = Gpu("Orin", (8, 7), integrated=True, free_bytes=2**30, total_bytes=2**33)
CUDA = "CUDAExecutionProvider"


def levels(findings: list[Finding]) -> list[str]:
    return [finding.level for finding in findings]


# Findings


def test_the_table_puts_what_to_do_below_what_was_found() -> None:
    text = table([Finding("ok", "python", "CPython"), Finding("problem", "gpu", "none", "buy")])
    assert text.splitlines() == [
        "ok       python  CPython",
        "problem  gpu     none",
        "                 -> buy",
    ]


def test_a_problem_without_advice_cannot_be_stated() -> None:
    with pytest.raises(ValueError, match="say what to do"):
        Finding("problem", "gpu", "none")


# Python and packages

REQUIREMENTS = parse_requirements(
    [
        "numpy>=1.24",
        "onnxruntime>=1.23; extra == 'cpu'",
        'torch>=2.9 ; extra == "export"',
        "dawn-edge[cpu,export]; extra == 'dev'",
    ]
)


def test_requirements_are_read_with_version_and_extra() -> None:
    assert [(r.name, r.least, r.extra) for r in REQUIREMENTS] == [
        ("numpy", "1.24", ""),
        ("onnxruntime", "1.23", "cpu"),
        ("torch", "2.9", "export"),
        ("dawn-edge", "", "dev"),
    ]


@pytest.mark.parametrize(
    ("installed", "needed", "expected"),
    [
        ({"numpy": "1.24", "onnxruntime": "1.23.0", "torch": "2.13.0+cpu"}, [], "ok ok ok"),
        ({"numpy": "1.24.0", "onnxruntime-gpu": "1.31", "torch": "3"}, ["cpu"], "ok ok ok"),
        ({"numpy": "1.9"}, [], "problem note note"),
        ({"numpy": "2"}, ["cpu"], "ok problem note"),
        ({"numpy": "2", "onnxruntime": "1.22"}, ["cpu"], "ok problem note"),
    ],
)
def test_what_is_missing_or_old_is_a_problem_only_where_it_is_needed(
    installed: dict[str, str], needed: list[str], expected: str
) -> None:
    assert levels(package_findings(REQUIREMENTS, installed.get, needed)) == expected.split()


def test_an_old_package_is_named_with_the_version_it_should_have() -> None:
    found = package_findings(REQUIREMENTS, {"numpy": "1.9.9"}.get, [])[0]
    assert "numpy is 1.9.9, at least 1.24 is needed" in found.found
    assert found.advice == "pip install --upgrade 'dawn-edge'"


def test_two_wheels_of_onnx_runtime_in_one_folder_are_noted() -> None:
    both = {"numpy": "2", "onnxruntime": "1.23", "onnxruntime-gpu": "1.23", "torch": "3"}
    found = package_findings(REQUIREMENTS, both.get, [])[-1]
    assert (found.level, "the last one wins" in found.found) == ("note", True)


def test_a_source_folder_compares_no_versions() -> None:
    assert levels(package_findings([], {}.get, [])) == ["note"]


def test_an_old_python_is_a_problem() -> None:
    assert python_finding((3, 10, 0), "CPython").level == "ok"
    assert python_finding((3, 8, 10), "CPython").level == "problem"


# Libraries


def elf(*names: str, address: int = 0x4000) -> bytes:
    """The smallest library that asks for others: header, two segments, dynamic section, strings."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in names)
    starts = [strings.index(b"\0" + name.encode() + b"\0") + 1 for name in names]
    start = 64 + 2 * 56
    entries = [(1, offset) for offset in starts] + [(5, address), (10, len(strings)), (0, 0)]
    dynamic = b"".join(struct.pack("<qQ", *entry) for entry in entries)
    at = start + len(dynamic)
    header = b"\x7fELF\x02\x01" + bytes(26) + struct.pack("<Q", 64) + bytes(14)
    header += struct.pack("<HH", 56, 2) + bytes(6)
    segments = [
        struct.pack("<IIQQQQQQ", 1, 4, at, address, address, len(strings), len(strings), 1),
        struct.pack("<IIQQQQQQ", 2, 4, start, 0, 0, len(dynamic), len(dynamic), 8),
    ]
    return header + b"".join(segments) + dynamic + strings


def test_needed_libraries_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "library.so"
    path.write_bytes(elf("libnvinfer.so.10", "libcudart.so.13", "libc.so.6"))
    assert needed_libraries(path) == ("libnvinfer.so.10", "libcudart.so.13", "libc.so.6")


def test_needed_libraries_of_a_real_library() -> None:
    maps = Path("/proc/self/maps").read_text().split()
    libc = next(Path(word) for word in maps if word.rpartition("/")[2].startswith("libc.so"))
    assert any(name.startswith("ld-linux") for name in needed_libraries(libc))


@pytest.mark.parametrize("keep", [0, 5, 63, 100, 200, -3])
def test_a_damaged_library_is_one_error(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "library.so"
    path.write_bytes(elf("libc.so.6")[:keep])
    with pytest.raises(EngineError, match=r"library\.so: not a 64-bit little-endian"):
        needed_libraries(path)


def test_a_library_with_wild_addresses_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "library.so"
    content = bytearray(elf("libc.so.6"))
    struct.pack_into("<Q", content, 64 + 16, 2**60)  # the segment is loaded elsewhere
    path.write_bytes(content)
    with pytest.raises(EngineError, match="is in no segment"):
        needed_libraries(path)


def test_the_major_of_a_linked_library(tmp_path: Path) -> None:
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / "libonnxruntime_providers_tensorrt.so").write_bytes(
        elf("libnvinfer.so.10", "libnvonnxparser.so.10")
    )
    assert linked_major(tmp_path, "tensorrt", "libnvinfer") == 10
    assert linked_major(tmp_path, "tensorrt", "libcudart") is None
    assert linked_major(tmp_path, "cuda", "libcudart") is None
    assert major_of(["libnvinfer_plugin.so.9"], "libnvinfer") is None


# ONNX files


def test_the_smallest_model_says_its_versions_and_no_more_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(minimal_model(GraphVersions(23, 11)))
    assert graph_versions(path) == GraphVersions(23, 11)


def test_the_smallest_model_is_a_valid_model(tmp_path: Path) -> None:
    import onnx

    model = onnx.load_from_string(minimal_model(GraphVersions(20, 9)))
    onnx.checker.check_model(model, full_check=True)
    model.opset_import.add(domain="com.example", version=3)
    model.doc_string = "x" * 300
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    assert graph_versions(path) == GraphVersions(20, 9)


@pytest.mark.parametrize("content", [b"", b"onnx", b"\x08", b"\xff" * 20, b"\x3a\x05ab"])
def test_what_is_no_model_is_one_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="not an ONNX model"):
        graph_versions(path)


# Providers


def test_onnx_runtime_loads_its_cpu_provider_and_refuses_a_future_opset() -> None:
    probe = "dawn_runtime.doctor.probe"
    assert CPU in ask(probe).document["providers"]
    assert failure_of(ask(probe, CPU, "23", "11")) == ""
    assert "opset" in failure_of(ask(probe, CPU, "99", "11")).lower()


def test_a_probe_that_dies_is_an_answer() -> None:
    assert "No module named" in ask("dawn_runtime.doctor.nowhere").log
    crashed = read_answer(-11, "", "")
    assert (crashed.document, crashed.log) == ({}, "ended by signal 11")
    assert failure_of(crashed) == "ended by signal 11"
    assert read_answer(0, 'chatter\n{"a": 1}\n', "").document == {"a": 1}
    assert read_answer(0, "chatter", "").log == "not JSON: chatter"


def test_the_reason_of_a_provider_is_the_last_line_of_its_log() -> None:
    log = "first\n\x1b[0mlibcudnn.so.9: cannot open shared object file\x1b[0m\n\n"
    answer = Answer({"loaded": False, "reason": ""}, log)
    assert failure_of(answer) == "libcudnn.so.9: cannot open shared object file"


@pytest.mark.parametrize(
    ("found", "needed", "expected"),
    [
        (OnnxRuntime("1.31", Path(), {CPU: ""}), [CPU], "ok"),
        (OnnxRuntime("1.31", Path(), {CPU: "", CUDA: "no libcudnn"}), [CPU], "ok note"),
        (OnnxRuntime("1.31", Path(), {CPU: "", CUDA: "no libcudnn"}), [CUDA], "ok problem"),
        (OnnxRuntime("1.31", Path(), {CPU: ""}), [CUDA], "ok problem"),
        (OnnxRuntime(reason="No module named onnxruntime"), [CPU], "problem"),
        (OnnxRuntime(reason="No module named onnxruntime"), [], "note"),
    ],
)
def test_a_provider_that_does_not_load_is_a_problem_only_where_it_is_needed(
    found: OnnxRuntime, needed: list[str], expected: str
) -> None:
    assert levels(provider_findings(found, needed=needed)) == expected.split()


def test_an_opset_that_was_refused_is_a_problem() -> None:
    versions = GraphVersions(27, 13)
    refused = OnnxRuntime("1.31", Path(), {CPU: ""}, graph_refused="opset 27 is under development")
    finding = opset_finding(refused, versions)
    assert finding.level == "problem"
    assert "opset 27" in finding.found
    assert opset_finding(OnnxRuntime("1.31", Path(), {CPU: ""}), versions).level == "ok"
    assert opset_finding(OnnxRuntime(reason="none"), versions).level == "note"


# TensorRT


@pytest.mark.parametrize(
    ("installed", "linked", "opset", "needed", "expected"),
    [
        ((), None, 23, False, "note"),
        ((), 10, 23, True, "problem"),
        (((10, 3, 0),), 10, 20, True, "ok ok"),
        (((10, 3, 0),), 10, 23, True, "ok problem"),
        (((10, 3, 0),), 10, 23, False, "ok note"),
        (((10, 16),), None, 23, True, "ok ok"),
        (((11, 4, 1),), 10, 20, False, "problem ok"),
    ],
)
def test_tensorrt_must_be_the_major_that_onnx_runtime_links_and_read_the_opset(
    installed: Any, linked: int | None, opset: int, needed: bool, expected: str
) -> None:
    versions = GraphVersions(opset, 9)
    assert levels(tensorrt_findings(installed, linked, versions, needed=needed)) == expected.split()


def test_the_version_of_tensorrt_is_in_the_names_of_its_files(tmp_path: Path) -> None:
    for name in ("libnvinfer.so", "libnvinfer.so.10", "libnvinfer.so.10.3.0", "libnvinfer.so.x"):
        (tmp_path / name).touch()
    assert versions_in([tmp_path, tmp_path / "nowhere"]) == [(10, 3, 0)]


def test_the_newest_opset_grows_with_tensorrt() -> None:
    found = [newest_opset(v) for v in ((8, 6), (10,), (10, 3), (10, 15), (11, 4, 1))]
    assert found == [None, None, 20, 23, 25]


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


def test_every_precision_has_a_size() -> None:
    assert PRECISION_BYTES.keys() == KV_DTYPES.keys()


def test_the_need_is_the_formula() -> None:
    manifest = fake_manifest(vocab_size=300, max_length=256)
    dims = manifest.dims
    found = need(manifest, length=64, batch=2, on_gpu=False)
    assert found.cache == 2 * dims.layers * dims.kv_heads * dims.head_dim * 2 * 64 * 4
    assert found.activations == (
        2 * 64 * (4 * dims.hidden + 18 * dims.hidden) * 4
        + 2 * 2 * dims.heads * 64 * 64 * 4
        + 2 * 2 * 32 * 300 * 4
    )
    assert found.total == found.weights + found.cache + found.activations + BASE_BYTES


def test_memory_is_what_the_machine_or_its_control_group_has_left(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  100 kB\nMemFree:  10 kB\nMemAvailable:   50 kB\n")
    assert parse_meminfo(meminfo.read_text()) == 50 * 1024
    assert parse_meminfo("MemFree: 3 kB") == 0
    assert read_available(meminfo, tmp_path) == 50 * 1024
    (tmp_path / "memory.current").write_text("1000\n")
    for limit, expected in (("max", 50 * 1024), ("3000", 2000), ("1000000", 50 * 1024)):
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
