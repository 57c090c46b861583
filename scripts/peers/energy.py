"""What a span of time took in joules, where the machine tells.

========  ==========================================================================================
rapl      Linux's counters of the processor packages, /sys/class/powercap/intel-rapl:N/energy_uj,
          in microjoules; they begin again at `max_energy_range_uj`. Often for root alone.
tegra     `tegrastats` of a Jetson, whose line every 100 ms has the milliwatts of the whole board
          (VDD_IN) or, on boards that lack it, of all of its rails
========  ==========================================================================================
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

POWERCAP = Path("/sys/class/powercap")
_RAIL = re.compile(r"(\w+) (\d+)mW/\d+mW")
_WHOLE = "VDD_IN"


class Meter(Protocol):
    """Counts energy."""

    name: str

    def joules(self) -> float:
        """Joules since some moment that is the same in every call."""

    def close(self) -> None:
        """Ends what it needs."""


class Rapl:
    """Counters of the processor packages."""

    name = "rapl"

    def __init__(self, packages: Sequence[Path]) -> None:
        self._packages = packages
        self._last = [self._read(package, "energy_uj") for package in packages]
        self._ranges = [self._read(package, "max_energy_range_uj") for package in packages]
        self._sum = 0

    @staticmethod
    def _read(package: Path, name: str) -> int:
        return int((package / name).read_text())

    def joules(self) -> float:
        """See `Meter`; has to be asked once in each turn of the counters, which take minutes."""
        for number, package in enumerate(self._packages):
            now = self._read(package, "energy_uj")
            more = now - self._last[number]
            self._sum += more if more >= 0 else more + self._ranges[number]
            self._last[number] = now
        return self._sum / 1e6

    def close(self) -> None:
        """See `Meter`."""


class Tegra:
    """Power of a Jetson, summed up as it is told."""

    name = "tegrastats"

    def __init__(self, tool: str) -> None:
        self._sum, self._told_at = 0.0, time.perf_counter()
        command = [tool, "--interval", "100"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            now = time.perf_counter()
            self._sum += watts(line) * (now - self._told_at)
            self._told_at = now

    def joules(self) -> float:
        """See `Meter`; up to the last line that was told."""
        return self._sum

    def close(self) -> None:
        """See `Meter`."""
        self._process.terminate()
        self._reading.join()
        self._process.communicate()  # which closes the pipe, too


def watts(line: str) -> float:
    """Power of the board by a line of tegrastats; 0 if it tells none."""
    rails = {name: int(milliwatts) / 1e3 for name, milliwatts in _RAIL.findall(line)}
    return rails.get(_WHOLE, sum(rails.values()))


def meter_of_the_machine(powercap: Path = POWERCAP) -> Meter | None:
    """What counts energy here; None where nothing does, or we may not ask it."""
    packages = sorted(powercap.glob("intel-rapl:?"))
    try:
        if packages:
            return Rapl(packages)
    except OSError:  # for root alone
        pass
    tool = shutil.which("tegrastats")
    return None if tool is None else Tegra(tool)
