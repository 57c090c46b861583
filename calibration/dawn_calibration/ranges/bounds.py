"""What a run will need, compared with what there is before anything is allocated or decoded."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dawn_calibration.errors import CalibrationError
from dawn_calibration.ranges.histogram import BINS
from dawn_calibration.ranges.options import RangeOptions
from dawn_calibration.ranges.sites import Site
from dawn_runtime.errors import OptionError
from dawn_runtime.machine.memory import read_available

_COUNT_BYTES: Final = 8
_VALUE_BYTES: Final = 4


def recorded_bytes(sites: Iterable[Site], options: RangeOptions) -> int:
    """Memory that counts, largest magnitudes and samples take: T strata, C channels of a site.

    ``T * (BINS * 8 + C * 4)``, and ``T * samples * C * 4`` where a norm is to be smoothed.
    """
    total = 0
    for site in sites:
        rows = options.samples if site.smoothed and options.smooth else 0
        channels = site.width * _VALUE_BYTES
        total += len(options.strata) * (BINS * _COUNT_BYTES + channels * (1 + rows))
    return total


def check_memory(sites: Iterable[Site], options: RangeOptions) -> None:
    """Refuses numbers of bins and samples that do not fit the memory.

    Raises:
        OptionError: They do not.
    """
    needed, free = recorded_bytes(sites, options), read_available()
    if free and needed > free:
        raise OptionError(
            f"ranges: bins is {options.strata.bins} and samples is {options.samples}; what they "
            f"record of this model takes {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB "
            "are free; ask for fewer"
        )


def check_room(path: Path, size: int) -> None:
    """Refuses a disk that is too full for the state, which is there twice while it is replaced.

    Raises:
        CalibrationError: It is.
    """
    free = shutil.disk_usage(path.parent).free
    if 2 * size > free:
        raise CalibrationError(
            f"{path}: the state of a run takes up to {2 * size / 1e6:.0f} MB, and {free / 1e6:.0f} "
            "MB are free there; free some, or give another --state"
        )
