"""The picture of a result: tokens a second and times of a step, case by case."""

from pathlib import Path

from dawn_runtime.bench.plan import Case
from dawn_runtime.bench.record import Record
from dawn_runtime.bench.report import asked, describe
from dawn_runtime.pictures import picture

_WIDTH = 5.4
_ROW = 0.34


def draw(record: Record, path: Path) -> None:
    """Draws bars, one for each case, as PNG or SVG by the name of the file.

    Args:
        record: What was measured.
        path: Where the picture shall be; its folder must exist.

    Raises:
        DependencyError: matplotlib is not installed.
        OSError: It cannot be written.
    """
    measured = record.measured
    names = [_label(one.case, several=len(record.artifacts) > 1) for one in measured]
    places = list(range(len(measured)))
    size = (_WIDTH, 1.4 + _ROW * len(measured))
    with picture(path, 1, 2, title=asked(record.header), size=size) as (speed, steps):
        speed.barh(places, [one.tokens_per_second for one in measured], color="tab:blue")
        speed.set_xlabel("tokens a second that a reader gets")
        speed.set_yticks(places, names)
        medians = [1e3 * one.step.p50 for one in measured]
        tails = [1e3 * (one.step.p99 - one.step.p50) for one in measured]
        steps.barh(places, medians, xerr=[[0.0] * len(tails), tails], color="tab:gray")
        steps.set_xlabel("ms a step, median to 99th percentile")
        steps.set_yticks(places, [])
        for axes in (speed, steps):
            axes.invert_yaxis()  # the first case on top, as in the table


def _label(case: Case, *, several: bool) -> str:
    folder = f" {Path(case.artifact).name}" if several else ""
    return f"{describe(case)}{folder}"
