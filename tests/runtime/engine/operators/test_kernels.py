"""The kernels of our own operator: each gives the bits of products written out."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from dawn_runtime.engine.ort.operators.build import _EVERYWHERE, _FLAGS, KERNELS
from dawn_runtime.engine.ort.operators.library import SOURCES

PROGRAM = Path(__file__).with_name("compare.cpp")
SANITIZED = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
CROSS, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
EXPECTED = {
    "x86_64": {"avx512_vnni": "avx512-vnni", "avx2": "avx2"},
    "aarch64": {"asimddp": "neon-dot"},
}


def compiled(folder: Path, compiler: str, machine: str, *flags: str) -> Path:
    """The program that compares all kernels of a processor."""
    objects = []
    for name, own in (dict.fromkeys(_EVERYWHERE, ()) | dict(KERNELS[machine])).items():
        if name == "operator":
            continue  # which ONNX Runtime calls
        objects.append(str(folder / f"{name}.o"))
        source = str(SOURCES / f"{name}.cpp")
        run(compiler, *_FLAGS, "-Werror", *flags, *own, "-c", source, "-o", objects[-1])
    program = folder / "compare"
    include = ("-I", str(SOURCES))
    run(compiler, *_FLAGS, *flags, *include, str(PROGRAM), *objects, "-o", str(program))
    return program


def run(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()


def here() -> list[str]:
    """Kernels that this processor has the instructions for, as Linux tells."""
    words = Path("/proc/cpuinfo").read_text().split()
    found = EXPECTED[platform.machine()].items()
    return [*(name for flag, name in found if flag in words), "plain"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_every_kernel_of_this_processor_gives_the_same_bits(tmp_path: Path) -> None:
    program = compiled(tmp_path, "g++", platform.machine(), *SANITIZED)
    assert run(str(program)) == here()


@pytest.mark.skipif(
    shutil.which(CROSS) is None or shutil.which(EMULATOR) is None,
    reason=f"needs {CROSS} and {EMULATOR}",
)
@pytest.mark.parametrize(
    ("processor", "kernels"), [("max", ["neon-dot", "plain"]), ("cortex-a53", ["plain"])]
)
def test_the_kernel_of_arm_gives_the_same_bits(
    processor: str, kernels: list[str], tmp_path: Path
) -> None:
    program = compiled(tmp_path, CROSS, "aarch64", "-static")
    assert run(EMULATOR, "-cpu", processor, str(program)) == kernels
