"""Where the library of operators lies, under a name of its sources and its processor.

It is in the cache of the user, where it was built for this machine, or in the package, if that came
as a wheel for one platform (`scripts/build_wheel.sh`); the wheel for every platform has none. The
name changes with the sources, so a library of another version of this package is never taken.
"""

import hashlib
import os
import platform
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).parent
"""Folder of the C++ files."""

IN_WHEEL: Final = SOURCES / "compiled"
"""Folder of a library that came with the package."""

_ENDINGS: Final = (".h", ".cpp")


def library_name() -> str:
    """Returns the name of the file, for this processor."""
    return f"operators-{platform.machine()}-{_fingerprint()}.so"


def library_path() -> Path:
    """Returns where the library for this processor lies once it is built here.

    It is below `XDG_CACHE_HOME`, or `.cache` in the home folder.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    cache = Path(base) if base else Path.home() / ".cache"
    return cache / "dawn-edge" / library_name()


def built_library() -> Path | None:
    """Returns the library, one that was built here before one of the wheel; None without both."""
    places = (library_path(), IN_WHEEL / library_name())
    return next((path for path in places if path.is_file()), None)


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for source in sorted(path for path in SOURCES.iterdir() if path.suffix in _ENDINGS):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]
