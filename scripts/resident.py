"""The most memory that this process has had resident.

The `ru_maxrss` that everybody reads for it outlives exec: a process that a large one starts begins
with the size of the large one, and a growth below that is hidden. What Linux keeps with the
address space begins anew.
"""

from __future__ import annotations

from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_resident_bytes() -> int:
    """Returns the peak resident memory of this program since it was started, in bytes.

    Raises:
        OSError: this is not Linux.
    """
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return 1024 * int(lines["VmHWM"].split()[0])
