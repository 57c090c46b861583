"""Room on a disk."""

from __future__ import annotations

import shutil
from pathlib import Path


def free_bytes(path: Path) -> int:
    """Bytes that may be written where `path` is, or will be when the folders above are made."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    return shutil.disk_usage(there).free


def lacking(what: str, needed: int, free: int) -> str:
    """Says how much room is missing, in GB of 10**9 bytes.

    Args:
        what: What takes the room.
        needed: Bytes it takes.
        free: Bytes there are, fewer.
    """
    return (
        f"{what} takes {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free there; "
        f"free {(needed - free) / 1e9:.2f} GB"
    )
