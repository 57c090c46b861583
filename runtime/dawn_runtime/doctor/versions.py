"""Python and the packages that the distribution asks for.

The requirements are read from the metadata of the installed distribution, so they are written down
in one place, pyproject.toml.
"""

from collections.abc import Sequence
from typing import Final

from dawn_runtime.doctor.finding import Finding, level_of
from dawn_runtime.engine.ort.releases import KNOWN_WRONG, OLDEST, WHEELS
from dawn_runtime.machine.packages import DISTRIBUTION, InstalledVersion
from dawn_runtime.machine.requirements import Requirement, release

EXTRAS: Final = {
    "": "every use",
    "cpu": "running artifacts on the CPU",
    "export": "exporting checkpoints",
}
"""Extra -> what it is for; the others (`dev`) are not looked at."""


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
    both = [name for name in WHEELS if installed(name) is not None]
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
    versions = {r.name: _installed(r.name, installed) for r in group if r.applies}
    wrong = [text for r in group if r.applies and (text := _complaint(r, versions[r.name]))]
    purpose = f"for {EXTRAS[extra]}"
    if not wrong:
        text = ", ".join(f"{name} {version}" for name, (_, version) in versions.items())
        return Finding("ok", "packages", f"{purpose}: {text}")
    wanted = f"{DISTRIBUTION}[{extra}]" if extra else DISTRIBUTION
    advice = f"pip install --upgrade '{wanted}'"
    return Finding(
        level_of(extra in ("", *needed)), "packages", f"{purpose}: {', '.join(wrong)}", advice
    )


def _installed(name: str, installed: InstalledVersion) -> tuple[str, str | None]:
    """The distribution that brings a package, and its version; None if there is none."""
    names = WHEELS if name in WHEELS else (name,)
    found = ((n, version) for n in names if (version := installed(n)) is not None)
    return next(found, (name, None))


def _complaint(requirement: Requirement, found: tuple[str, str | None]) -> str:
    """What is wrong with what is installed; empty if nothing is."""
    wheel, version = found
    if version is None:
        return f"{requirement.name} is not installed"
    if not requirement.understood:
        return f"{requirement.name} is {version}, and {requirement.text!r} is not understood"
    if wheel in WHEELS and version in KNOWN_WRONG:
        return f"{wheel} is {version}, which computes {KNOWN_WRONG[version]} wrongly"
    if wheel != requirement.name and release(version) < release(OLDEST[wheel]):
        return f"{wheel} is {version}, at least {OLDEST[wheel]} is needed"
    broken = requirement.broken_by(version)
    return f"{requirement.name} is {version}, {broken}" if broken else ""


def _overwritten(names: Sequence[str]) -> Finding:
    return Finding(
        "note",
        "packages",
        f"{' and '.join(names)} are both installed; they share a folder, and the last one wins",
        f"pip uninstall {' '.join(names)}, then install the one that is wanted",
    )
