"""In which state the machine is: power mode, governors, clocks, heat, what slowed it down.

Read before and after a measurement; a machine that throttles, or that others keep busy, explains
figures that nothing else does. What a machine does not tell is left out.
"""

import os
import re
import shutil
import statistics
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dawn_runtime.machine.energy import SYS, text_at
from dawn_runtime.threads import busy_others
from dawn_runtime.wording import counted

_CPUINFO: Final = Path("/proc/cpuinfo")
_LOADAVG: Final = Path("/proc/loadavg")
_MODE = re.compile(r"NV Power Mode:\s*(\S+)")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_PATIENCE_S = 10
_THROTTLES: Final = (
    "devices/system/cpu/cpu*/thermal_throttle/core_throttle_count",
    "devices/system/cpu/cpu*/thermal_throttle/package_throttle_count",
    "class/hwmon/hwmon*/oc*_event_cnt",
)
"""Counters of x86 processors, which lowered their clocks for heat, and of Jetson boards, which did
for current."""


@dataclass(frozen=True, slots=True)
class Condition:
    """The state of the machine at one moment; None and empty is what it does not tell.

    Attributes:
        busy: Threads of others that ran or wanted to run; 0 also where it is not told.
        megahertz: Clock of the cores, median.
        most_megahertz: What the fastest of them may run at.
        governors: Who chooses clocks, such as `schedutil`; several if cores differ.
        celsius: The hottest zone.
        throttled: How often a processor or a board was slowed down since it was started.
        cooling: Cooling devices at work that lower clocks, such as `cpu-throttle-alert`.
    """

    busy: int
    megahertz: float | None
    most_megahertz: float | None
    governors: tuple[str, ...]
    celsius: float | None
    throttled: int | None
    cooling: tuple[str, ...]


def look_at(sys: Path = SYS, loadavg: Path = _LOADAVG) -> Condition:
    """Looks at the machine as it is now.

    Args:
        sys: Folder where the system tells.
        loadavg: File with the load.
    """
    clocks, limits = _thousands(sys, "scaling_cur_freq"), _thousands(sys, "scaling_max_freq")
    zones = (path / "temp" for path in (sys / "class" / "thermal").glob("thermal_zone*"))
    throttled = list(_numbers(path for name in _THROTTLES for path in sys.glob(name)))
    return Condition(
        busy=busy_others(loadavg),
        megahertz=statistics.median(clocks) if clocks else None,
        most_megahertz=max(limits, default=None),
        governors=tuple(sorted({*_texts(_cpufreq(sys, "scaling_governor"))})),
        celsius=max((value / 1e3 for value in _numbers(zones)), default=None),
        throttled=int(sum(throttled)) if throttled else None,
        cooling=_cooling(sys),
    )


def remarks(before: Condition, after: Condition, cores: int, threads: int) -> list[str]:
    """Says what may have spoilt a measurement, one line each; nothing where all was well.

    Args:
        before: As it began.
        after: As it ended.
        cores: Logical cores of the machine.
        threads: Most that were used at once.
    """
    found = []
    if before.busy and before.busy + threads > cores:
        others = f"{counted(before.busy, 'thread')} of others ran or wanted to"
        found.append(f"busy: before it began {others} on {counted(cores, 'core')}")
    if before.throttled is not None and (after.throttled or 0) > before.throttled:
        times = (after.throttled or 0) - before.throttled
        found.append(f"throttled: the machine lowered its clocks {times} times meanwhile")
    if after.cooling:
        found.append(f"throttled: {', '.join(after.cooling)} at work when it ended")
    if before.governors and set(before.governors) - {"performance"}:
        found.append(f"clocks may change: governor {', '.join(before.governors)}")
    return found


def power_mode(sys: Path = SYS) -> str | None:
    """Returns the power mode: `nvpmodel`'s on Jetson, else the profile of the firmware; or None."""
    program = shutil.which("nvpmodel")
    if program is not None:
        try:
            told = subprocess.run(
                [program, "-q"], capture_output=True, text=True, check=False, timeout=_PATIENCE_S
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        match = _MODE.search(told.stdout)
        return None if match is None else match[1]
    return next(_texts([sys / "firmware" / "acpi" / "platform_profile"]), None)


def processor(cpuinfo: Path = _CPUINFO, board: Path = Path("/proc/device-tree/model")) -> str:
    """Returns the name of the board, or of the processor; empty where neither is told."""
    for text in _texts([board]):
        return text.rstrip("\0")
    lines = next(_texts([cpuinfo]), "").splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "")


def logical_cores() -> int:
    """Returns how many logical cores the machine has."""
    return os.cpu_count() or 1


def _cooling(sys: Path) -> tuple[str, ...]:
    """Devices that cool by lowering clocks, and do so now."""
    folders = sorted((sys / "class" / "thermal").glob("cooling_device*"))
    active = [folder for folder in folders if any(_numbers([folder / "cur_state"]))]
    names = {*_texts(folder / "type" for folder in active)}
    return tuple(sorted(name for name in names if "fan" not in name.lower()))


def _cpufreq(sys: Path, name: str) -> Iterator[Path]:
    return (sys / "devices" / "system" / "cpu").glob(f"cpu[0-9]*/cpufreq/{name}")


def _thousands(sys: Path, name: str) -> list[float]:
    """Kilohertz as megahertz."""
    return [value / 1e3 for value in _numbers(_cpufreq(sys, name))]


def _numbers(paths: Iterable[Path]) -> Iterator[float]:
    """The first number of each file that has one."""
    matches = (_NUMBER.match(text) for text in _texts(paths))
    return (float(match[0]) for match in matches if match is not None)


def _texts(paths: Iterable[Path]) -> Iterator[str]:
    """The text of each file that can be read."""
    return (text for path in paths if (text := text_at(path)) is not None)
