"""TensorRT: what is installed, what ONNX Runtime's provider is linked against, what it reads."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from dawn_runtime.doctor.finding import Finding, level_of
from dawn_runtime.doctor.versions import installed_version
from dawn_runtime.errors import EngineError
from dawn_runtime.machine.elf import needed_libraries
from dawn_runtime.machine.onnx_bytes import GraphVersions

Version = tuple[int, ...]

PROVIDER_FILES: Final = {
    "tensorrt": "libonnxruntime_providers_tensorrt.so",
    "cuda": "libonnxruntime_providers_cuda.so",
}
LIBRARY: Final = "libnvinfer"
DISTRIBUTIONS: Final = ("tensorrt", "tensorrt-cu12", "tensorrt-cu13")
SYSTEM_FOLDERS: Final = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/tensorrt/lib",
)
"""Where Debian packages, JetPack and archives put libnvinfer."""

OPSETS: Final = {(8, 4): 17, (9, 0): 19, (10, 0): 20, (10, 15): 23, (11, 0): 25}
"""TensorRT from this version -> newest opset whose operators it is known to read.

Sources: 8.4 to 10.1 state it in docs/operators.md of onnx-tensorrt, 11.x in "ONNX Opset Guide" of
NVIDIA's TensorRT documentation ("Maximum opset 25"). Of opset 23 our graphs use `Attention`, which
came with 10.14 (its release page), and `RMSNormalization`, said to have come with 10.15 (not
confirmed)."""

_FILE = re.compile(rf"{LIBRARY}\.so\.(\d+(?:\.\d+)*)")


def linked_major(folder: Path, provider: str, library: str) -> int | None:
    """Major version of a library that a provider of ONNX Runtime is linked against.

    Args:
        folder: Where the module onnxruntime lies.
        provider: A key of `PROVIDER_FILES`.
        library: Name without version, such as `libnvinfer`.

    Returns:
        None if the build has no such provider, or it is not linked against the library.

    Raises:
        EngineError: The provider is not a shared library.
    """
    path = folder / "capi" / PROVIDER_FILES[provider]
    return major_of(needed_libraries(path), library) if path.exists() else None


def major_of(names: Iterable[str], library: str) -> int | None:
    """Returns 10 for `libnvinfer` where `libnvinfer.so.10` is among the names."""
    pattern = re.compile(rf"{re.escape(library)}\.so\.(\d+)")
    return next((int(m[1]) for name in names if (m := pattern.match(name))), None)


def read_installed() -> tuple[Version, ...]:
    """Returns the versions of TensorRT that pip or the system brought."""
    wheels = [version for name in DISTRIBUTIONS if (version := installed_version(name))]
    searched = [*os.environ.get("LD_LIBRARY_PATH", "").split(":"), *SYSTEM_FOLDERS]
    files = versions_in(Path(folder) for folder in searched if folder)
    return tuple(sorted({*map(_numbers, wheels), *files}))


def versions_in(folders: Iterable[Path]) -> list[Version]:
    """Returns the versions in the names of libnvinfer's files, the most precise of each major."""
    found: dict[int, Version] = {}
    for folder in folders:
        for path in folder.glob(f"{LIBRARY}.so.*"):
            if match := _FILE.fullmatch(path.name):
                version = _numbers(match[1])
                found[version[0]] = max(found.get(version[0], version), version, key=len)
    return list(found.values())


def _numbers(text: str) -> Version:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def newest_opset(version: Version) -> int | None:
    """Returns the newest opset that a version of TensorRT is known to read; None before 8.4."""
    # Of `libnvinfer.so.10` no more than (10,) is known.
    known = [opset for since, opset in OPSETS.items() if (*version, 0) >= since]
    return max(known, default=None)


def tensorrt_findings(
    installed: Sequence[Version],
    linked: int | None,
    versions: GraphVersions | None,
    *,
    needed: bool,
) -> list[Finding]:
    """Judges TensorRT.

    Args:
        installed: From `read_installed`.
        linked: Major version that ONNX Runtime's provider is linked against; None without it.
        versions: What the graph of the artifact asks for; None without an artifact.
        needed: Whether the artifact needs TensorRT.
    """
    names = " and ".join(".".join(map(str, version)) for version in installed)
    if not installed:
        return [_absent(linked, needed)]
    findings = [_linked_finding(names, {v[0] for v in installed}, linked)]
    if versions is not None:
        newest = max((newest_opset(version) or 0 for version in installed), default=0)
        findings.append(_opset_finding(names, newest, versions.opset, needed))
    return findings


def _absent(linked: int | None, needed: bool) -> Finding:
    asked = "" if linked is None else f"; ONNX Runtime's provider is linked against {linked}"
    if needed:
        return Finding(
            "problem", "tensorrt", f"TensorRT is not installed{asked}", "install TensorRT"
        )
    advice = "nothing, unless engines shall be built or run on this machine"
    return Finding("note", "tensorrt", f"TensorRT is not installed{asked}", advice)


def _linked_finding(names: str, majors: set[int], linked: int | None) -> Finding:
    if linked is None:
        return Finding("ok", "tensorrt", f"TensorRT {names}")
    if linked in majors:
        text = f"TensorRT {names}; ONNX Runtime's provider is linked against {linked}"
        return Finding("ok", "tensorrt", text)
    return Finding(
        "problem",
        "tensorrt",
        f"TensorRT {names}, but ONNX Runtime's provider is linked against {linked}: "
        "it falls back to CUDA or the CPU in silence",
        f"pip install 'tensorrt>={linked},<{linked + 1}', or another build of onnxruntime-gpu",
    )


def _opset_finding(names: str, newest: int, opset: int, needed: bool) -> Finding:
    reads = f"is known to read up to {newest}" if newest else "is older than any we know"
    text = f"the graph is opset {opset}; TensorRT {names} {reads}"
    if opset <= newest:
        return Finding("ok", "opset", text)
    advice = "export again with --dialect portable to build an engine of it"
    return Finding(level_of(needed), "opset", text, advice)


def read_linked(folder: Path | None) -> tuple[int | None, int | None, list[Finding]]:
    """Majors of TensorRT and CUDA that ONNX Runtime is linked against, and what went wrong.

    Args:
        folder: Where the module onnxruntime lies; None if there is none.
    """
    if folder is None:
        return None, None, []
    try:
        tensorrt = linked_major(folder, "tensorrt", LIBRARY)
        return tensorrt, linked_major(folder, "cuda", "libcudart"), []
    except EngineError as error:
        return None, None, [Finding("problem", "providers", str(error), "install it again")]
