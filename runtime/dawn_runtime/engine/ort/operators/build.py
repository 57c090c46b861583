"""Builds the library of operators with the compiler at hand."""

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from dawn_runtime.engine.ort.operators.library import SOURCES, library_name, library_path
from dawn_runtime.errors import DependencyError, EngineError

COMPILERS: Final = ("g++", "clang++")

# Nothing may change a sum of floats; without traps and errno loops of them become vectors.
_FLAGS: Final = (
    *("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra"),
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
)
_EVERYWHERE: Final = ("rows", "rows_plain", "operator")
_AVX512: Final = tuple(f"-mavx512{part}" for part in ("f", "bw", "vl", "dq", "vnni"))
KERNELS: Final[Mapping[str, Mapping[str, Sequence[str]]]] = {
    "x86_64": {"rows_avx2": ("-mavx2",), "rows_avx512": (*_AVX512, "-mprefer-vector-width=512")},
    "aarch64": {"rows_neon": ("-march=armv8.2-a+dotprod",)},
}
"""Processor -> files with instructions of their own, and the flags that allow those."""

_MOST_SECONDS: Final = 600


def build_library(compiler: str | None = None, folder: Path | None = None) -> Path:
    """Compiles the library and puts it where engines look for it, or into a folder.

    Args:
        compiler: Command of a C++17 compiler; None takes `CXX` of the environment, or the first
            there is of `COMPILERS`.
        folder: Where it goes instead, for a wheel.

    Returns:
        The path of the library.

    Raises:
        EngineError: This processor has no kernels, or the compiler failed.
        DependencyError: There is no compiler.
    """
    kernels = KERNELS.get(platform.machine())
    if kernels is None:
        raise EngineError(
            f"operators: got processor {platform.machine()}, expected {' or '.join(KERNELS)}; "
            "decoding goes on with the operators of ONNX Runtime"
        )
    command = _compiler(compiler)
    target = library_path() if folder is None else folder / library_name()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        objects = []
        for name, flags in (dict.fromkeys(_EVERYWHERE, ()) | dict(kernels)).items():
            objects.append(f"{scratch}/{name}.o")
            _run([command, *_FLAGS, *flags, "-c", str(SOURCES / f"{name}.cpp"), "-o", objects[-1]])
        _run([command, "-shared", *objects, "-o", f"{scratch}/operators.so"])
        Path(scratch, "operators.so").replace(target)
    return target


def _compiler(named: str | None) -> str:
    wanted = [named] if named else [os.environ.get("CXX") or "", *COMPILERS]
    found = next((path for name in wanted if name and (path := shutil.which(name))), None)
    if found is None:
        looked = ", ".join(name for name in wanted if name)
        raise DependencyError(f"operators: found no C++ compiler ({looked}); install g++")
    return found


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_MOST_SECONDS, check=False
    )
    if done.returncode:
        said = " ".join(done.stderr.split())
        raise EngineError(f"operators: {command[0]} failed with {done.returncode}: {said:.300}")
