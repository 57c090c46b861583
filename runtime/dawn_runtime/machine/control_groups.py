"""How many CPUs the control groups of Linux allow this process: `docker run --cpus 2` and the like.

`os.cpu_count` and the affinity know nothing of it. A group of version 2 has `cpu.max`, one of
version 1 `cpu.cfs_quota_us` and `cpu.cfs_period_us`; each is a share of time that all processes of
the group and of those inside it have together, so the least on the way up counts. Both versions may
be mounted side by side. Inside a container the mount often begins at the group itself.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

_PROC: Final = Path("/proc/self")
_CONTROLLER: Final = "cpu"


def cpu_quota(proc: Path = _PROC) -> float | None:
    """Returns the CPUs that are allowed, above 0; None if there is no limit or none is told.

    Args:
        proc: Folder with `cgroup` and `mountinfo` of the process.
    """
    try:
        groups = (proc / "cgroup").read_text(encoding="utf-8", errors="surrogateescape")
        mounts = (proc / "mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    found = [quota for folder in _folders(groups, mounts) if (quota := _quota(folder)) is not None]
    return min(found, default=None)


def _folders(groups: str, mounts: str) -> Iterator[Path]:
    """Folders of the groups that this process is in, from its own up to where they are mounted."""
    own = {}
    for line in groups.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            own["cgroup2"] = path
        elif _CONTROLLER in controllers.split(","):
            own["cgroup"] = path
    for kind, root, place in _mounted(mounts):
        if kind in own:
            top = Path(place)
            inside = _inside(own[kind], root)
            yield from (top / part for part in (inside, *inside.parents))


def _mounted(mounts: str) -> Iterator[tuple[str, str, str]]:
    """Mounts of control groups that can have a quota: kind, group that is mounted, and where."""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, *rest) = before.split(" "), after.split(" ") or [""]
        if len(fields) < 5 or kind not in ("cgroup", "cgroup2"):
            continue
        if kind == "cgroup2" or (rest and _CONTROLLER in rest[-1].split(",")):
            yield kind, _unescaped(fields[3]), _unescaped(fields[4])


def _inside(path: str, root: str) -> PurePosixPath:
    """Where a group is below its mount; the mount itself if it is seen from another namespace."""
    group = PurePosixPath(path)
    if ".." not in group.parts and group.is_relative_to(root):
        return group.relative_to(root)
    return PurePosixPath()


def _quota(folder: Path) -> float | None:
    maximum = _numbers(folder / "cpu.max")
    if maximum is None:
        quota, period = (_numbers(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        maximum = None if quota is None or period is None else [*quota, *period]
    if maximum is None or len(maximum) != 2 or min(maximum) <= 0:  # -1 is no limit
        return None
    return maximum[0] / maximum[1]


def _numbers(path: Path) -> list[int] | None:
    """Integers of a file; None if there is no such file, or no limit in it."""
    try:
        return [int(word) for word in path.read_text(encoding="ascii").split()]
    except (OSError, ValueError):  # `max` is no limit
        return None


def _unescaped(text: str) -> str:
    """Puts back characters that /proc writes as octal numbers, such as spaces."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
