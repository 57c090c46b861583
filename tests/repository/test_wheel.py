"""The wheel for every platform, and that for one."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dawn_runtime.engine.ort.operators import built_library
from dawn_runtime.engine.ort.operators import library as places

ROOT = Path(__file__).parent.parent.parent
PLACE = "dawn_runtime/engine/ort/operators/compiled"


def build(folder: Path, library: Path | None) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables |= {"PIP_CONSTRAINT": "constraints.txt", "PIP_BUILD_CONSTRAINT": "constraints.txt"}
    if library is not None:
        variables["DAWN_EDGE_OPERATORS"] = str(library)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        folder,
        ROOT,
    ]
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=variables,
        check=False,
    )


def built(folder: Path, library: Path | None) -> zipfile.ZipFile:
    done = build(folder, library)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel)


def test_the_wheel_for_every_platform_has_the_sources_and_no_library(tmp_path: Path) -> None:
    with built(tmp_path, None) as wheel:
        names = wheel.namelist()
        assert str(wheel.filename).endswith("-py3-none-any.whl")
    assert "dawn_runtime/engine/ort/operators/rows.cpp" in names
    assert not [name for name in names if name.endswith(".so")]


def test_the_wheel_for_one_platform_brings_the_library(tmp_path: Path) -> None:
    library = tmp_path / "operators-riscv64-0123.so"
    library.write_bytes(b"compiled")
    with built(tmp_path / "wheels", library) as wheel:
        assert str(wheel.filename).endswith("-py3-none-linux_riscv64.whl")
        assert wheel.read(f"{PLACE}/{library.name}") == b"compiled"
        (meta,) = [name for name in wheel.namelist() if name.endswith("/WHEEL")]
        assert b"Root-Is-Purelib: false" in wheel.read(meta)


def test_what_is_no_library_of_operators_is_told(tmp_path: Path) -> None:
    done = build(tmp_path, tmp_path / "none.so")
    assert done.returncode != 0
    assert "none.so, expected a file operators-PROCESSOR-NUMBER.so" in done.stderr


def test_engines_take_the_library_of_the_wheel_after_one_built_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(places, "IN_WHEEL", tmp_path)
    assert built_library() is None
    (tmp_path / places.library_name()).touch()
    assert built_library() == tmp_path / places.library_name()
    here = places.library_path()
    here.parent.mkdir(parents=True)
    here.touch()
    assert built_library() == here
