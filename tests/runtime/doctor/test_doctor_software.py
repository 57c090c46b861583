"""What dawn-doctor finds in software: packages, libraries, providers, TensorRT."""

import struct
from pathlib import Path
from typing import Any

import pytest

from dawn_runtime.doctor.finding import Finding, table
from dawn_runtime.doctor.providers import opset_finding, provider_findings
from dawn_runtime.doctor.tensorrt import tensorrt_findings
from dawn_runtime.doctor.versions import package_findings, python_finding
from dawn_runtime.errors import ArtifactError, EngineError
from dawn_runtime.machine.elf import needed_libraries
from dawn_runtime.machine.isolated import Answer, ask, read_answer
from dawn_runtime.machine.onnx_bytes import GraphVersions, graph_versions, minimal_model
from dawn_runtime.machine.packages import read_requirements
from dawn_runtime.machine.providers import CPU, OnnxRuntime, failure_of
from dawn_runtime.machine.requirements import parse_requirements
from dawn_runtime.machine.tensorrt import linked_major, major_of, newest_opset, versions_in

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
        "onnxruntime>=1.23.1; extra == 'cpu'",
        'torch>=2.9 ; extra == "export"',
        "dawn-edge[cpu,export]; extra == 'dev'",
    ]
)


def test_requirements_are_read_with_version_and_extra() -> None:
    assert [(r.name, r.bounds, r.extra) for r in REQUIREMENTS] == [
        ("numpy", ((">=", "1.24"),), ""),
        ("onnxruntime", ((">=", "1.23.1"),), "cpu"),
        ("torch", ((">=", "2.9"),), "export"),
        ("dawn-edge", (), "dev"),
    ]


@pytest.mark.parametrize(
    ("line", "good", "bad", "complaint"),
    [
        ("x>=12.9,<13", "12.9.0 12.9.10", "12.8 13.0 13", "is needed"),
        ("x (>=1.2,!=1.3.0)", "1.2 1.3.1 2", "1.3 1.1", "is needed"),
        ("x==12.6.*; extra == 'y'", "12.6 12.6.85", "12.7 12 13", "12.6.* is needed"),
        ("x!=1.23.*", "1.24 1.22.9", "1.23 1.23.2", "any but 1.23.* is needed"),
        ("x~=1.4", "1.4 1.9", "1.3 2.0", "compatible with 1.4"),
        ("x ~= 1.4.2 ; python_version >= '3.10'", "1.4.2 1.4.9", "1.5 1.4.1", "compatible"),
        ("x>1,<=2.5", "1.1 2.5.0", "1.0 2.6", "is needed"),
        ("x===1.0+cpu", "1.0+cpu", "1.0", "1.0+cpu is needed"),
        ("x", "1 0.0", "", ""),
    ],
)
def test_every_bound_of_a_requirement_counts(
    line: str, good: str, bad: str, complaint: str
) -> None:
    (requirement,) = parse_requirements([line])
    assert requirement.understood
    assert requirement.applies
    assert [requirement.broken_by(version) for version in good.split()] == [""] * len(good.split())
    assert all(complaint in (requirement.broken_by(version) or "?") for version in bad.split())
    packaging = pytest.importorskip("packaging.requirements")
    specifier = packaging.Requirement(line).specifier
    for version in [*good.split(), *bad.split()]:
        assert specifier.contains(version) == (requirement.broken_by(version) == "")


def test_a_marker_says_where_a_requirement_counts() -> None:
    lines = [
        "new>=1; python_version >= '3.10' and extra == 'cpu'",
        "old>=1; (python_version < '3.10') and extra == 'cpu'",
        "elsewhere; sys_platform == 'win32'",
    ]
    found = parse_requirements(lines)
    assert [(r.applies, r.extra, r.understood) for r in found] == [
        (True, "cpu", True),
        (False, "cpu", True),
        (False, "", True),
    ]
    assert levels(package_findings(found, {}.get, ["cpu"])) == ["ok", "problem", "ok"]


@pytest.mark.parametrize(
    "line", ["x>=1; os_name == 'a' or extra == 'b'", "x @ file:///x.whl", "x>=1,about 2"]
)
def test_a_requirement_that_is_not_understood_is_told_and_not_left_out(line: str) -> None:
    found = package_findings(parse_requirements([line]), {"x": "1.5"}.get, [])[0]
    assert found.level == "problem"
    assert f"x is 1.5, and {line!r} is not understood" in found.found


def test_every_requirement_of_this_distribution_is_understood() -> None:
    assert [r.text for r in read_requirements() if not r.understood] == []


def test_a_release_that_computes_wrongly_or_is_too_old_for_a_gpu_is_named() -> None:
    for wheel, version, expected in (
        ("onnxruntime", "1.23.0", "onnxruntime is 1.23.0, which computes Attention whose heads"),
        ("onnxruntime-gpu", "1.25.1", "onnxruntime-gpu is 1.25.1, at least 1.27 is needed"),
    ):
        installed = {"numpy": "2", "torch": "3", wheel: version}
        found = package_findings(REQUIREMENTS, installed.get, ["cpu"])[1]
        assert (found.level, expected in found.found) == ("problem", True)


@pytest.mark.parametrize(
    ("installed", "needed", "expected"),
    [
        ({"numpy": "1.24", "onnxruntime": "1.23.1", "torch": "2.13.0+cpu"}, [], "ok ok ok"),
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
    both = {"numpy": "2", "onnxruntime": "1.24", "onnxruntime-gpu": "1.24", "torch": "3"}
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
    probe = "dawn_runtime.machine.probe"
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
        (((10,),), 10, 20, True, "ok ok"),
        (((8, 2),), None, 17, True, "ok problem"),
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
    versions = ((8, 2), (8, 6), (9, 3), (10,), (10, 3), (10, 14), (10, 15), (11, 4, 1))
    found = [newest_opset(version) for version in versions]
    assert found == [None, 17, 19, 20, 20, 20, 23, 25]
