"""Python and the packages that the distribution asks for.

The requirements are read from the metadata of the installed distribution, so they are written down
in one place, pyproject.toml.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from dawn_runtime.doctor.finding import Finding, level_of

DISTRIBUTION: Final = "dawn-edge"

EXTRAS: Final = {
    "": "every use",
    "cpu": "running artifacts on the CPU",
    "export": "exporting checkpoints",
}
"""Extra -> what it is for; the others (`dev`) are not looked at."""

RUNTIME_WHEELS: Final = ("onnxruntime", "onnxruntime-gpu")
"""Distributions that bring the module onnxruntime; they overwrite each other."""

_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)\s*(?:\[[^\]]*\])?\s*(?:>=(?P<least>[\d.]+))?"
    r"(?:\s*;\s*extra == ['\"](?P<extra>[\w-]+)['\"])?"
)

InstalledVersion = Callable[[str], str | None]
"""Name of a distribution -> its version, None if it is not installed."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement of the distribution.

    Attributes:
        name: The package.
        least: Oldest version that will do; empty if any will.
        extra: The extra that brings it; empty for a package that is always needed.
    """

    name: str
    least: str
    extra: str


def read_requirements() -> list[Requirement]:
    """Returns what the installed distribution asks for; nothing if it is not installed."""
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    return parse_requirements(lines)


def parse_requirements(lines: Iterable[str]) -> list[Requirement]:
    """Reads `name>=version; extra == 'x'`, the only form that pyproject.toml of ours uses."""
    found = [match for line in lines if (match := _REQUIREMENT.fullmatch(line))]
    return [Requirement(m["name"], m["least"] or "", m["extra"] or "") for m in found]


def installed_version(name: str) -> str | None:
    """Returns the version of an installed distribution, None if there is none of that name."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def python_finding(version: tuple[int, ...], implementation: str) -> Finding:
    """Says which Python this is.

    Args:
        version: Such as (3, 10, 12).
        implementation: Such as `CPython`.
    """
    text = f"{implementation} {'.'.join(map(str, version[:3]))}"
    if version >= (3, 10):
        return Finding("ok", "python", text)
    return Finding("problem", "python", text, "use Python 3.10 or newer")


def package_findings(
    requirements: Sequence[Requirement], installed: InstalledVersion, needed: Sequence[str]
) -> list[Finding]:
    """Compares what is installed with what the distribution asks for.

    Args:
        requirements: From `read_requirements`.
        installed: Versions of what is installed.
        needed: Extras without which the artifact cannot run.
    """
    if not requirements:
        return [_not_a_distribution()]
    findings = [
        _group_finding(extra, [r for r in requirements if r.extra == extra], installed, needed)
        for extra in EXTRAS
    ]
    both = [name for name in RUNTIME_WHEELS if installed(name) is not None]
    return findings + ([_overwritten(both)] if len(both) > 1 else [])


def _not_a_distribution() -> Finding:
    return Finding(
        "note",
        "packages",
        f"{DISTRIBUTION} runs from its source folder; versions of packages are not compared",
        f"pip install {DISTRIBUTION}, or pip install -e . in the source folder",
    )


def _group_finding(
    extra: str, group: Sequence[Requirement], installed: InstalledVersion, needed: Sequence[str]
) -> Finding:
    versions = {r.name: _installed(r.name, installed) for r in group}
    wrong = [text for r in group if (text := _complaint(r, versions[r.name]))]
    purpose = f"for {EXTRAS[extra]}"
    if not wrong:
        text = ", ".join(f"{name} {version}" for name, version in versions.items())
        return Finding("ok", "packages", f"{purpose}: {text}")
    wanted = f"{DISTRIBUTION}[{extra}]" if extra else DISTRIBUTION
    advice = f"pip install --upgrade '{wanted}'"
    return Finding(
        level_of(extra in ("", *needed)), "packages", f"{purpose}: {', '.join(wrong)}", advice
    )


def _installed(name: str, installed: InstalledVersion) -> str | None:
    names = RUNTIME_WHEELS if name in RUNTIME_WHEELS else (name,)
    return next((version for n in names if (version := installed(n)) is not None), None)


def _complaint(requirement: Requirement, version: str | None) -> str:
    if version is None:
        return f"{requirement.name} is not installed"
    if _release(version) < _release(requirement.least):
        return f"{requirement.name} is {version}, at least {requirement.least} is needed"
    return ""


def _release(version: str) -> tuple[int, ...]:
    """The numbers a version begins with, without the zeros at their end."""
    numbers = re.match(r"\d+(?:\.\d+)*", version)
    parts = [int(part) for part in numbers[0].split(".")] if numbers else []
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def _overwritten(names: Sequence[str]) -> Finding:
    return Finding(
        "note",
        "packages",
        f"{' and '.join(names)} are both installed; they share a folder, and the last one wins",
        f"pip uninstall {' '.join(names)}, then install the one that is wanted",
    )
