"""Whose an unfinished folder is, and what becomes of those whose export was killed.

Beside the place of an artifact, ``<name>``, there may be:

============================  ==================================================================
``.<name>.<random>.partial``  an artifact that is being written, or one that was just replaced
``.<name>.<random>.old``      one that is being replaced where names cannot be swapped in one step
============================  ==================================================================

An export holds a lock (`flock`) on the folder it fills, which the system takes back when the
process ends, however it ends. So a folder whose lock is free has lost its owner: the next export to
the same place removes it, or puts an old artifact back where there is none. A folder whose lock is
held belongs to an export that runs. Where a file system knows no locks on folders (some network
file systems), exports are not kept apart, and what was left over stays until it is removed by hand.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dawn_export.errors import OutputError

_PARTIAL, _OLD = "partial", "old"


@dataclass(frozen=True, slots=True)
class Staging:
    """A new folder and the lock on it.

    Attributes:
        folder: Where to write.
        descriptor: Holds the lock until it is closed.
    """

    folder: Path
    descriptor: int


def new_staging(output: Path) -> Staging:
    """Makes and locks a folder beside `output`; call it while the folder above is `locked`."""
    folder = output.with_name(f".{output.name}.{secrets.token_hex(4)}.{_PARTIAL}")
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    with suppress(OSError):  # no locks here
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return Staging(folder, descriptor)


def old_name(staging: Path) -> Path:
    """Where the artifact goes that the one in `staging` replaces."""
    return staging.with_suffix(f".{_OLD}")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lets one export at a time look at a folder and change names in it; it takes moments."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # no locks here
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def clear_leftovers(output: Path) -> None:
    """Removes what killed exports to this place left, or puts it back; see the module.

    Raises:
        OutputError: Another export to this place is running, or a leftover cannot be removed.
    """
    for path in _leftovers(output):
        state = _owner(path)
        if state is None:
            continue
        if state:
            raise OutputError(
                f"{output}: another export to this place is running, in {path.name}; "
                "wait for it or choose another folder"
            )
        if path.suffix == f".{_OLD}" and not output.exists():
            path.rename(output)
        else:
            _remove(path)


def _leftovers(output: Path) -> list[Path]:
    name = re.compile(rf"\.{re.escape(output.name)}\.[0-9a-f]{{8}}\.({_PARTIAL}|{_OLD})")
    named = (path for path in output.parent.iterdir() if name.fullmatch(path.name))
    return sorted(path for path in named if path.is_dir() and not path.is_symlink())


def _owner(folder: Path) -> bool | None:
    """Tells whether an export that runs holds the folder; None where nobody can know."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:  # its owner has just finished
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # someone else may be at it too
    if folder.exists():
        raise OutputError(
            f"{folder}: left by an export that was killed, and cannot be removed; "
            "remove it yourself"
        )
