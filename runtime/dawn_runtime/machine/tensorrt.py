"""TensorRT: what is installed, what ONNX Runtime's provider is linked against, what it reads."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dawn_runtime.machine.elf import needed_libraries
from dawn_runtime.machine.packages import installed_version

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
