"""Opening files of a checkpoint, none of which is trusted: no pipe, no size unseen, no way out.

The Hugging Face cache keeps snapshots as links into the ``blobs`` folder beside them; links there
are followed, others that leave the folder are not.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "NOTICE", "NOTICE.txt")
"""What the terms of a checkpoint are called."""


def present(path: Path) -> bool:
    """Whether something has this name, be it a link to nothing."""
    return os.path.lexists(path)


def outside(path: Path) -> Path | None:
    """Where a file of a checkpoint folder really lies, if that is not the checkpoint's place."""
    # Not Path.resolve, which raises RuntimeError where links go round in a circle.
    folder, target = Path(os.path.realpath(path.parent)), Path(os.path.realpath(path))
    roots = [folder]
    for inside in (folder, *folder.parents):  # a checkpoint may be a folder of a snapshot
        if inside.parent.name == "snapshots":
            roots.append(inside.parent.parent / "blobs")
            break
    return None if any(root in target.parents for root in roots) else target


def read_start(path: Path, count: int) -> tuple[bytes, int]:
    """Read the first `count` bytes of a file, or all it has.

    Returns:
        The bytes, and the size of the whole file.

    Raises:
        OSError: It cannot be opened or read.
        ValueError: It is a folder, a pipe or a device.
    """
    # Opening a pipe would wait for its other end; O_NONBLOCK does not, and is idle for real files.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(count), status.st_size
    finally:
        os.close(descriptor)
