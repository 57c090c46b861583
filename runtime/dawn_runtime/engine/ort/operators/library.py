"""Where the library of operators lies: in the cache of the user, under a name of its sources.

Nothing of it is in the wheel, which is for every processor. The name changes with the sources, so a
library of another version of this package is never taken.
"""

import hashlib
import os
import platform
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).parent
"""Folder of the C++ files."""

_ENDINGS: Final = (".h", ".cpp")


def library_path() -> Path:
    """Returns where the library for this processor lies once it is built.

    It is below `XDG_CACHE_HOME`, or `.cache` in the home folder.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    cache = Path(base) if base else Path.home() / ".cache"
    return cache / "dawn-edge" / f"operators-{platform.machine()}-{_fingerprint()}.so"


def built_library() -> Path | None:
    """Returns the library, None if it is not built."""
    path = library_path()
    return path if path.is_file() else None


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for source in sorted(path for path in SOURCES.iterdir() if path.suffix in _ENDINGS):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]
