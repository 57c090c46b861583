"""Two folders swap their names in one step, which Linux can and Python cannot."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def exchange(first: Path, second: Path) -> bool:
    """Swaps two names, so that at no moment either of them is missing.

    Source: renameat2(2), flag RENAME_EXCHANGE; ext4, XFS, Btrfs, tmpfs and overlayfs have it.

    Returns:
        Whether it was done; False if the file system (NFS, exFAT) or the system cannot.

    Raises:
        OSError: It can, but not here: no permission, no such name.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    paths = (_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second))
    if rename(*paths, _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(first))
