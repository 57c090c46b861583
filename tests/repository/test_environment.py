"""What is installed where: bounds of pyproject.toml, pinned versions, what scripts ask of pip."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from dawn_runtime.engine.ort.releases import KNOWN_WRONG, OLDEST, TESTED, WHEELS
from dawn_runtime.machine.packages import DISTRIBUTION

ROOT = Path(__file__).parent.parent.parent
TOOLS = {"pip", "setuptools", DISTRIBUTION}
OF_TORCH_FOR_CUDA = ("nvidia-", "triton", "cuda-toolkit")
"""What only a build of torch for CUDA brings."""


def declared() -> list[Requirement]:
    return [Requirement(line) for line in metadata.requires(DISTRIBUTION) or []]


def of_extra(extra: str) -> list[Requirement]:
    """Requirements of an extra alone; of "" those of every use."""
    return [
        r
        for r in declared()
        if (not extra and r.marker is None)
        or (extra and r.marker is not None and f'extra == "{extra}"' in str(r.marker))
    ]


def lines(name: str) -> Iterator[Requirement]:
    for line in (ROOT / name).read_text().splitlines():
        if line and not line.startswith("#"):
            yield Requirement(line)


def pins(python: str) -> dict[str, str]:
    """Name -> version of constraints.txt for a Python."""
    found = {}
    for pin in lines("constraints.txt"):
        if pin.marker is None or pin.marker.evaluate({"python_version": python}):
            (exact,) = pin.specifier
            assert exact.operator == "==", pin
            name = canonicalize_name(pin.name)
            assert name not in found, f"{name} is pinned twice for Python {python}"
            found[name] = exact.version
    return found


# ONNX Runtime


@pytest.mark.parametrize("release", KNOWN_WRONG)
def test_no_bound_allows_a_release_that_computes_wrongly(release: str) -> None:
    bounds = [r for r in declared() if r.name in WHEELS]
    assert {r.name for r in bounds} == set(WHEELS)
    assert not [str(r) for r in bounds if r.specifier.contains(release)]


def test_releases_of_onnx_runtime_are_those_of_pyproject_and_the_pins() -> None:
    assert "1.23.0" in KNOWN_WRONG
    for requirement in declared():
        if requirement.name in WHEELS:
            assert requirement.specifier == SpecifierSet(f">={OLDEST[requirement.name]}")
    for first, release in TESTED.items():
        assert pins(".".join(map(str, first)))["onnxruntime"] == release


# Pins


def closure(extras: tuple[str, ...]) -> Iterator[str]:
    """Names of all that the extras bring on this Python, as installed."""
    waiting = [Requirement(f"{DISTRIBUTION}[{','.join(extras)}]")]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        key = (name, frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        yield name
        for line in metadata.requires(name) or []:
            wanted = Requirement(line)
            environments = [{"extra": extra} for extra in (requirement.extras or {""})]
            if wanted.marker is None or any(map(wanted.marker.evaluate, environments)):
                of_cuda = wanted.name.startswith(OF_TORCH_FOR_CUDA)
                if not (name == "torch" and of_cuda):
                    waiting.append(wanted)


def test_nothing_that_the_development_environment_installs_floats() -> None:
    python = ".".join(map(str, sys.version_info[:2]))
    pinned = pins(python)
    for name in set(closure(("dev",))) - TOOLS:
        assert name in pinned, f"{name} {metadata.version(name)} is not in constraints.txt"
        installed = Version(metadata.version(name)).public
        assert Version(installed) == Version(pinned[name]), name


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_every_direct_requirement_and_what_builds_the_package_is_pinned(python: str) -> None:
    pinned = pins(python)
    wanted = {canonicalize_name(r.name) for r in [*of_extra(""), *of_extra("cpu")]}
    wanted |= {canonicalize_name(r.name) for r in [*of_extra("export"), *of_extra("dev")]}
    wanted |= {"hatchling", "numpy", "protobuf", "jinja2", "tqdm", "cuda-python"}
    assert wanted - TOOLS <= set(pinned)
    for requirement in declared():
        version = pinned.get(canonicalize_name(requirement.name))
        if version is not None:
            of_older_cuda = any(name in str(requirement.marker) for name in ("cu12", "jetson6"))
            assert requirement.specifier.contains(version) or of_older_cuda
    build = re.search(r'requires = \["(hatchling[^"]*)"\]', (ROOT / "pyproject.toml").read_text())
    assert build
    assert Requirement(build[1]).specifier.contains(pinned["hatchling"])


def test_the_oldest_releases_that_are_tested_are_the_bounds_of_pyproject() -> None:
    tested = {canonicalize_name(r.name): str(r.specifier) for r in lines("constraints-lowest.txt")}
    for requirement in [*of_extra(""), *of_extra("cpu")]:
        assert tested[canonicalize_name(requirement.name)] == str(requirement.specifier).replace(
            ">=", "=="
        )


# The scripts

RECORDER = """#!/bin/bash
case "$*" in
--version) echo "Python 3.11.0" ;;
"-c import torch") exit "${HAS_NO_TORCH:-1}" ;;
"-m pip "*) echo "$PIP_CONSTRAINT $PIP_BUILD_CONSTRAINT ${*:3}" >>"$CALLS" ;;
esac
"""

Prepare = Callable[..., tuple[str, list[str]]]


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    """Runs `prepare_environment` in a folder of its own; returns standard error and pip's calls."""
    root = tmp_path / "a clone"
    (root / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "environment.sh", root / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root)
    calls = root / "calls"

    def run(command: str, **environment: str) -> tuple[str, list[str]]:
        for folder in (".venv", ".venv-device"):
            python = root / folder / "bin" / "python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.write_text(RECORDER)
            python.chmod(0o755)
        calls.write_text("")
        kept = {name: value for name, value in os.environ.items() if name != "TORCH_INDEX_URL"}
        done = subprocess.run(
            ["bash", "-c", f"set -euo pipefail; source scripts/environment.sh; {command}"],
            cwd=root,
            env={**kept, "CALLS": str(calls), **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stderr, calls.read_text().splitlines()

    return run


def test_an_environment_is_prepared_once_and_pins_hold_for_the_build_too(prepare: Prepare) -> None:
    errors, calls = prepare("prepare_environment cpu,export")
    assert len(calls) == len(errors.splitlines()) == 1
    assert calls[0].startswith("constraints.txt constraints.txt install --quiet")
    assert calls[0].endswith("--editable .[cpu,export]")
    assert prepare("prepare_environment cpu,export") == ("", [])


def test_a_device_environment_lies_beside_the_other(prepare: Prepare) -> None:
    prepare("prepare_environment dev")
    errors, calls = prepare("prepare_environment cpu .venv-device; command -v python >&2")
    assert calls[0].endswith("--editable .[cpu]")
    first, path = errors.splitlines()
    assert first == "installing dawn-edge[cpu] into .venv-device, downloads about 50 MB"
    assert path.endswith(".venv-device/bin/python")
    assert prepare("prepare_environment cpu .venv-device; prepare_environment dev") == ("", [])


def test_an_index_of_cpu_builds_can_be_named_and_sizes_are_told(prepare: Prepare) -> None:
    errors, calls = prepare("prepare_environment dev", TORCH_INDEX_URL="https://cpu.example/whl")
    assert "--extra-index-url https://cpu.example/whl --editable .[dev]" in calls[0]
    assert errors == "installing dawn-edge[dev] into .venv, downloads about 0.5 GB\n"
    errors, calls = prepare("prepare_environment export")
    assert "index-url" not in calls[0]
    assert "downloads about 0.3 GB" in errors
    if os.uname().machine == "x86_64":
        assert "2.5 GB more if pip finds torch for CUDA only: TORCH_INDEX_URL names" in errors
    errors, _ = prepare("prepare_environment calibrate", HAS_NO_TORCH="0")
    assert "has torch already" in errors


def test_no_script_names_a_host_of_packages() -> None:
    for path in [*(ROOT / "scripts").glob("*.sh"), *(ROOT / "docker").iterdir()]:
        assert not re.search(r"https?://|pytorch\.org|pypi\.org", path.read_text()), path
