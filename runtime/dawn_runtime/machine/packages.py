"""Packages that are installed, and what our own distribution asks for."""

from collections.abc import Callable
from importlib import metadata
from typing import Final

from dawn_runtime.machine.requirements import Requirement, parse_requirements

DISTRIBUTION: Final = "dawn-edge"


InstalledVersion = Callable[[str], str | None]
"""Name of a distribution -> its version, None if it is not installed."""


def read_requirements() -> list[Requirement]:
    """Returns what the installed distribution asks for; nothing if it is not installed."""
    try:
        return parse_requirements(metadata.requires(DISTRIBUTION) or [])
    except metadata.PackageNotFoundError:
        return []


def installed_version(name: str) -> str | None:
    """Returns the version of an installed distribution, None if there is none of that name."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
