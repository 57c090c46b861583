"""Energy that the machine has taken: counters of the processor (RAPL), power sensors of a board.

Intel and AMD processors count microjoules under /sys/class/powercap; since 2020 Linux lets root
alone read them. Jetson boards have INA3221 sensors, whose voltage and current stand under
/sys/class/hwmon and are looked at ten times a second. Both see the whole machine, not this process.

    package-0, dram        a processor with all that is in it, and its memory
    VDD_IN, VDD_CPU_CV     rails of a board; VDD_IN is all that a module takes
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SYS: Final = Path("/sys")
_WHOLE_BOARD: Final = "VDD_IN"
_PARTS: Final = ("core", "uncore")
"""Inside of a package, so counted with it already; and `psys` holds packages."""

_LOOKS_APART_S = 0.1


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter of energy that begins again at zero when it is full.

    Attributes:
        name: Such as `package-0`.
        path: File with microjoules.
        full: Microjoules at which it begins again; 0 if that is not told.
    """

    name: str
    path: Path
    full: int

    def read(self) -> int:
        """Returns microjoules; raises OSError or ValueError."""
        return int(self.path.read_text(encoding="ascii"))

    def since(self, before: int) -> float:
        """Returns the joules since a reading; the counter may have begun again once."""
        now = self.read()
        return (now - before + (self.full if now < before else 0)) / 1e6


@dataclass(frozen=True, slots=True)
class Rail:
    """A rail of a board whose power is measured.

    Attributes:
        name: Such as `VDD_IN`.
        watts: Reads what it takes now; raises OSError or ValueError.
    """

    name: str
    watts: Callable[[], float]


def counters(sys: Path = SYS) -> list[Counter]:
    """Returns the counters of processors and their memory that this process may read."""
    found = []
    for folder in sorted((sys / "class" / "powercap").glob("*:*")):
        name = text_at(folder / "name")
        if name is None or name in (*_PARTS, "psys"):
            continue
        counter = Counter(name, folder / "energy_uj", _number(folder / "max_energy_range_uj"))
        if _value(counter.read) is not None:
            found.append(_apart(counter, folder))
    return found


def rails(sys: Path = SYS) -> list[Rail]:
    """Returns the rails of a board that this process may look at."""
    found = []
    for folder in sorted((sys / "class" / "hwmon").glob("hwmon*")):
        if not (text_at(folder / "name") or "").startswith("ina"):
            continue
        for label in sorted(folder.glob("in*_label")):
            number = label.name.removeprefix("in").removesuffix("_label")
            rail = Rail(text_at(label) or label.name, _power_of(folder, number))
            if _value(rail.watts) is not None:
                found.append(rail)
    return found


class EnergyMeter:
    """Joules between `start` and `stop`, by what measures them.

        meter = EnergyMeter()
        meter.start()
        ...
        meter.stop()  # {"package-0": 12.5, "dram": 1.0}; empty where the machine does not tell

    Args:
        sys: The folder where the system tells.
    """

    def __init__(self, sys: Path = SYS) -> None:
        self._counters, self._rails = counters(sys), rails(sys)
        self._before: dict[str, int] = {}
        self._joules: dict[str, float] = {}
        self._done = threading.Event()
        self._looking: threading.Thread | None = None
        self._then, self._power = 0.0, dict[str, float]()

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of all that is measured; empty where the machine does not tell."""
        names = [one.name for one in self._counters]
        return (*names, *(rail.name for rail in self._rails))

    def start(self) -> None:
        """Begins to measure."""
        self._joules = {rail.name: 0.0 for rail in self._rails}
        self._done.clear()
        if self._rails:
            self._then, self._power = time.perf_counter(), self._watts()
            self._looking = threading.Thread(target=self._look, daemon=True)
            self._looking.start()
        self._before = {one.name: one.read() for one in self._counters}

    def stop(self) -> dict[str, float]:
        """Ends, and returns joules by source.

        Raises:
            OSError: What could be read cannot be read any more.
        """
        counted = {one.name: one.since(self._before[one.name]) for one in self._counters}
        if self._looking is not None:
            self._done.set()
            self._looking.join()
            self._looking = None
        return {**counted, **self._joules}

    def _look(self) -> None:
        """Looks again and again, and once more when it is over."""
        while not self._done.wait(_LOOKS_APART_S):
            self._add()
        self._add()

    def _add(self) -> None:
        """Adds up power times time, the mean of two looks between them."""
        now, power = time.perf_counter(), self._watts()
        for name, watts in power.items():
            self._joules[name] += (now - self._then) * (watts + self._power[name]) / 2
        self._then, self._power = now, power

    def _watts(self) -> dict[str, float]:
        """Power of all rails; one that cannot be read any more has no joules of this span."""
        found = {}
        for rail in self._rails:
            if rail.name in self._joules and (watts := _value(rail.watts)) is not None:
                found[rail.name] = watts
            else:
                self._joules.pop(rail.name, None)
        return found


def total_joules(joules: Mapping[str, float]) -> float | None:
    """Returns what the machine took in all; None where nothing is told.

    Args:
        joules: What `EnergyMeter.stop` returns. A rail that holds the others counts alone.
    """
    if not joules:
        return None
    return joules.get(_WHOLE_BOARD, sum(joules.values()))


def _apart(counter: Counter, folder: Path) -> Counter:
    """Tells the memory of several processors apart: `dram` of intel-rapl:1:0 is `dram-1`."""
    parts = folder.name.split(":")
    name = f"{counter.name}-{parts[1]}" if len(parts) > 2 and parts[1] != "0" else counter.name
    return Counter(name, counter.path, counter.full)


def _power_of(folder: Path, number: str) -> Callable[[], float]:
    """Reads millivolts times milliamperes as watts."""
    volts, amperes = folder / f"in{number}_input", folder / f"curr{number}_input"

    def watts() -> float:
        first, second = (float(path.read_text(encoding="ascii")) for path in (volts, amperes))
        return first * second / 1e6

    return watts


def _value(read: Callable[[], float]) -> float | None:
    """What is read; None where it cannot be."""
    try:
        return read()
    except (OSError, ValueError):
        return None


def text_at(path: Path) -> str | None:
    """Returns the text of a file of the system; None where there is none or it may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> int:
    text = text_at(path)
    return int(text) if text is not None and text.isdecimal() else 0
