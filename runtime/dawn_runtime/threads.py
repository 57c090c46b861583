"""How many CPU threads help, decided in one place and told in one line.

A thread beyond what the machine gives costs more than it brings. Threads of one operator wait for
each other many times a step, spinning while they wait, so one that is not running holds up all: on
two cores with four other busy processes two threads of torch took six times as long for a step as
one, and ONNX Runtime's took twice as long. `choose_threads` therefore takes the least of

    cores     physical ones among those that this process may run on (affinity, cpusets)
    quota     what the control group allows, of version 1 or 2, this group's or any above it
    order     OMP_NUM_THREADS of the environment
    free      cores without other work at this moment
    size      one for a model so small that a step is over before a second thread is awake

and lets waiting threads spin only where all cores are there and free: without other work spinning
is up to a third faster, with other work up to twice as slow. A number that is asked for is taken.
"""

import os
import re
import statistics
import time
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from dawn_runtime.machine.control_groups import cpu_quota
from dawn_runtime.manifest_records import Dims

SMALL_MODEL: Final = 8_000_000
"""Weights of the layers, about, below which one thread is as good as more: steps of 10 ms."""

_WEIGHTS_A_LAYER: Final = 16
"""Weights of a layer over the square of its width, about; the manifest does not tell them."""

_SMALL: Final = "the model is so small that more do not help"
_ORDER: Final = "OMP_NUM_THREADS"
_WAITING: Final = "OMP_WAIT_POLICY"
_LOOKS, _LOOKS_APART_S = 5, 0.004
_CPUS: Final = Path("/sys/devices/system/cpu")
_LOADAVG: Final = Path("/proc/loadavg")


@dataclass(frozen=True, slots=True)
class Machine:
    """What bears on the number of threads.

    Attributes:
        cores: Logical ones of the whole machine.
        allowed: Logical ones that this process may run on.
        usable: Physical ones among these.
        quota: CPUs that the control group allows; None is no limit.
        busy: Threads of others that ran or wanted to run, on the whole machine.
        order: What the environment asks for; None for nothing.
    """

    cores: int
    allowed: int
    usable: int
    quota: float | None = None
    busy: int = 0
    order: int | None = None


@dataclass(frozen=True, slots=True)
class Threads:
    """How many threads an engine gets, and why.

    Attributes:
        count: Threads inside one operator.
        cores: Logical cores of the machine.
        reason: Why not more; empty where all are taken or the number was asked for.
        limited: Whether the machine is the reason, and not the model.
        spinning: Whether threads that wait may spin.
    """

    count: int
    cores: int
    reason: str
    limited: bool
    spinning: bool

    def line(self) -> str:
        """One line for people, such as `2 of 8 threads: the container allows 2 CPUs`."""
        threads = f"{self.count} of {self.cores} threads"
        return f"{threads}: {self.reason}" if self.reason else threads


def choose_threads(dims: Dims, wanted: int | None = None) -> Threads:
    """Chooses for a model on this machine, as it is at this moment.

    Args:
        dims: Sizes of the model.
        wanted: A number that was asked for, which is taken as it is; None chooses.
    """
    machine, weights = look(), weights_of(dims)
    if decide(machine, weights, wanted).count > 1:
        machine = replace(machine, busy=busy_others())
    return decide(machine, weights, wanted)


def decide(machine: Machine, weights: int, wanted: int | None = None) -> Threads:
    """Chooses by facts; see the module.

    Args:
        machine: The facts.
        weights: Those of the model's layers.
        wanted: A number that was asked for; None chooses.
    """
    limits = _limits(machine, weights)
    count = min((most for most, _ in limits), default=machine.usable) if wanted is None else wanted
    reason = next((why for most, why in limits if most == count and wanted is None), "")
    idle = machine.quota is None and (not machine.busy or count + machine.busy < machine.cores)
    return Threads(
        count=count,
        cores=machine.cores,
        reason=reason,
        limited=reason not in ("", _SMALL),
        spinning=idle and 1 < count <= machine.usable,
    )


def weights_of(dims: Dims) -> int:
    """Returns about how many weights the layers of a model have."""
    return dims.layers * dims.hidden**2 * _WEIGHTS_A_LAYER


def look() -> Machine:
    """Looks at the machine, but not at how busy it is, which takes `busy_others` a while."""
    cores = os.cpu_count() or 1
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(cores))
    return Machine(
        cores=cores,
        allowed=len(allowed),
        usable=physical_cores(allowed),
        quota=cpu_quota(),
        order=_order(os.environ.get(_ORDER, "")),
    )


def physical_cores(cpus: Set[int], folder: Path = _CPUS) -> int:
    """Counts cores: those that two hardware threads share count once, if the system tells.

    Args:
        cpus: Numbers of logical cores, at least one.
        folder: Where the system tells.
    """
    return len({_siblings(folder / f"cpu{number}", number) for number in cpus})


def busy_others(loadavg: Path = _LOADAVG, looks: int = _LOOKS) -> int:
    """Returns how many threads of others run or want to run, the median of looks over 20 ms.

    Args:
        loadavg: Its fourth field is ``running/all``, this thread among those that run.
        looks: How often.
    """
    seen = []
    for number in range(looks):
        if number:
            time.sleep(_LOOKS_APART_S)
        try:
            seen.append(int(loadavg.read_text(encoding="ascii").split()[3].partition("/")[0]) - 1)
        except (OSError, ValueError, IndexError):  # a system that does not tell
            return 0
    return max(0, int(statistics.median(seen)))


@contextmanager
def passive_openmp() -> Iterator[None]:
    """Lets threads of OpenMP sleep while they wait, if its library is first loaded inside.

    It reads the environment once, then, so this goes around ``import torch``; what the user has
    set there stays. Threads that spin are what makes torch many times slower on a busy machine.
    """
    if _WAITING in os.environ:
        yield
        return
    os.environ[_WAITING] = "passive"
    try:
        yield
    finally:
        os.environ.pop(_WAITING, None)


def _limits(machine: Machine, weights: int) -> list[tuple[int, str]]:
    """Numbers of threads not to exceed, each below all cores, and why; what lasts comes first."""
    found = []
    if machine.order is not None:
        found.append((machine.order, f"{_ORDER} is {machine.order}"))
    if weights < SMALL_MODEL:
        found.append((1, _SMALL))
    if machine.quota is not None:
        allowed = f"{machine.quota:g} CPU{'' if machine.quota == 1 else 's'}"
        found.append((max(1, int(machine.quota)), f"the container allows {allowed}"))
    found.append((machine.usable, _of_cores(machine)))
    if machine.busy:
        others = f"{machine.busy} other{'' if machine.busy == 1 else 's'}"
        free = max(1, machine.cores - machine.busy)
        found.append((free, f"the machine is busy with {others}"))
    return [(most, reason) for most, reason in found if most <= machine.usable]


def _of_cores(machine: Machine) -> str:
    """Why not all logical cores are taken; empty where they are."""
    if machine.allowed < machine.cores:
        return f"this process may run on {_cores(machine.allowed)}"
    return "" if machine.usable == machine.cores else f"there are {machine.usable} physical cores"


def _cores(number: int) -> str:
    return "1 core" if number == 1 else f"{number} cores"


def _siblings(cpu: Path, number: int) -> str:
    try:
        return (cpu / "topology" / "thread_siblings_list").read_text(encoding="ascii").strip()
    except OSError:
        return str(number)


def _order(text: str) -> int | None:
    """A number of threads in the environment; of a list, which OpenMP takes too, the first."""
    first = text.partition(",")[0].strip()
    return int(first) if re.fullmatch("[1-9][0-9]{0,4}", first) else None
