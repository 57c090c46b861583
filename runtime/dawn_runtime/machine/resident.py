"""The most memory that this process has had resident.

The `ru_maxrss` that everybody reads for it outlives exec: a process that a large one starts begins
with the size of the large one, and a growth below that is hidden. What Linux keeps with the
address space begins anew.
"""

import errno
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc/self")
_PEAK_ANEW: Final = "5"
"""What `clear_refs` takes to set the peak to what is resident now; proc(5)."""


def peak_resident_bytes(proc: Path = _PROC) -> int:
    """Returns the peak since the program was started, or since `begin_peak`, in bytes.

    Args:
        proc: Folder of the process.

    Raises:
        OSError: The system does not tell, which Linux alone does.
    """
    text = (proc / "status").read_text(encoding="utf-8", errors="replace")
    lines = (line.partition(":") for line in text.splitlines())
    told = next((said for name, _, said in lines if name == "VmHWM"), None)
    if told is None:
        raise OSError(errno.ENODATA, "does not tell the peak of resident memory", str(proc))
    return 1024 * int(told.split()[0])


def begin_peak(proc: Path = _PROC) -> bool:
    """Lets the peak begin at what is resident now; returns False where that is not allowed.

    Args:
        proc: Folder of the process.
    """
    try:
        (proc / "clear_refs").write_text(_PEAK_ANEW, encoding="ascii")
    except OSError:
        return False
    return True
