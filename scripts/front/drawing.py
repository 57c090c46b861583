"""The front as pictures: right answers against each cost, one panel a cost.

Each rule has a line of its own colour, marker and name. Names stand in a column beside each panel
with a thin line to the rule's most accurate setting, because rules lie too close to be told apart
by a legend. Colours are those of Okabe and Ito, which differ for everybody; rules that are neither
on the front nor compared with are grey.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dawn_runtime.pictures import picture
from front.report import Table
from front.summary import BASELINES, COSTS, Row

FORMATS: Final = ("png", "svg")

_DEEPEST: Final = 0.25
"""Settings whose share is further below the best are not drawn, or nothing else could be read."""
_GREY: Final = "0.62"
_WIDTH: Final = 5.6
_LEAST_HEIGHT: Final = 4.4
_FRAME: Final = 1.0
"""Inches of a panel above and below its axes."""
_NAME: Final = 0.19
"""Inches of a name, one below the other."""
_AXES: Final = {
    "forwards": "runs of the engine an answer",
    "rows": "positions fed an answer",
    "ms": "milliseconds an answer (in batches, this machine)",
}


@dataclass(frozen=True)
class _Look:
    colour: str
    marker: str


_OWN: Final = {
    "threshold": _Look("#000000", "o"),
    "local-leap": _Look("#009E73", "s"),
    "eb": _Look("#CC79A7", "D"),
    "verify": _Look("#D55E00", "*"),
    "verify-rows": _Look("#E69F00", "P"),
    "dawn": _Look("#0072B2", "^"),
}
_OTHERS: Final = tuple(itertools.product(("#56B4E9", "#882255", "#117733"), ("v", "<", ">", "X")))


def draw(table: Table, folder: Path) -> list[Path]:
    """Draws a table as PNG and SVG.

    Args:
        table: Settings of an artifact on a group of tasks.
        folder: Where the pictures shall be; it must exist.

    Returns:
        Their paths.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    paths = [folder / f"front-{table.artifact}-{table.group}.{name}" for name in FORMATS]
    drawn = [row for row in table.rows if row.share >= _least(table.rows)]
    names = len({row.setting.rule for row in drawn})
    size = (_WIDTH, max(_LEAST_HEIGHT, _FRAME + _NAME * names))
    title = f"{table.artifact}, {table.group} tasks, {drawn[0].items} items, intervals of 95 %"
    if len(drawn) < len(table.rows):
        title += f" ({len(table.rows) - len(drawn)} settings lie lower)"
    for path in paths:
        with picture(path, 1, len(COSTS), title=title, size=size) as axes:
            for axis, cost in zip(axes, COSTS, strict=True):
                _panel(axis, drawn, cost, _NAME / (size[1] - _FRAME))
            axes[0].set_ylabel("right answers, %")
    return paths


def _least(rows: Sequence[Row]) -> float:
    return max(row.share for row in rows) - _DEEPEST


def _panel(axis: Any, rows: Sequence[Row], cost: str, gap: float) -> None:
    _staircase(axis, rows, cost)
    looks, ends = _looks(rows), []
    for rule, look in looks.items():
        own = sorted((r for r in rows if r.setting.rule == rule), key=lambda r: r.costs[cost])
        _curve(axis, own, cost, look)
        best = max(own, key=lambda row: row.share)
        ends.append((rule, best.costs[cost], 100 * best.share, look.colour))
    axis.set_xscale("log")
    _ticks(axis, [row.costs[cost] for row in rows])
    axis.set_xlabel(_AXES[cost])
    axis.grid(visible=True, color="0.92")
    axis.set_axisbelow(True)
    shares = [bound for row in rows for bound in row.interval]
    axis.set_ylim(100 * min(shares) - 0.5, 100 * max(shares) + 0.5)
    _names(axis, ends, gap)


def _looks(rows: Sequence[Row]) -> dict[str, _Look]:
    """Colour and marker of each rule, grey ones first so that they lie below."""
    rules = dict.fromkeys(row.setting.rule for row in rows)
    on_front = {row.setting.rule for row in rows if row.fronts}
    spare = iter(_OTHERS)
    looks = {}
    for rule in rules:
        if rule in _OWN:
            looks[rule] = _OWN[rule]
        elif rule in on_front:
            looks[rule] = _Look(*next(spare))
        else:
            looks[rule] = _Look(_GREY, ".")
    first = sorted(looks, key=lambda rule: (looks[rule].colour != _GREY, rule in BASELINES))
    return {rule: looks[rule] for rule in first}


def _curve(axis: Any, own: Sequence[Row], cost: str, look: _Look) -> None:
    grey = look.colour == _GREY
    shares = [100 * row.share for row in own]
    below = [100 * (row.share - row.interval[0]) for row in own]
    above = [100 * (row.interval[1] - row.share) for row in own]
    axis.errorbar(
        [row.costs[cost] for row in own],
        shares,
        yerr=None if grey else (below, above),
        fmt=f"{look.marker}-",
        color=look.colour,
        linewidth=0.8 if grey else 1.3,
        markersize=8 if look.marker == "*" else 5,
        elinewidth=0.5,
        alpha=0.9,
    )


def _staircase(axis: Any, rows: Sequence[Row], cost: str) -> None:
    """The front of all rules: what is right at most at a cost."""
    best = sorted((row for row in rows if cost in row.fronts), key=lambda row: row.costs[cost])
    costs, shares = [row.costs[cost] for row in best], [100 * row.share for row in best]
    axis.step(costs, shares, where="post", color="#F0E442", linewidth=6, alpha=0.6, zorder=0)


def _ticks(axis: Any, costs: Sequence[float]) -> None:
    """Numbers that people read, on an axis of ratios: 2 and 5, not powers of ten alone."""
    low, high = min(costs) / 1.1, max(costs) * 1.1
    fine = (1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8)
    bases = fine[:: 1 if high < 4 * low else 2] if high < 12 * low else (1, 2, 5)
    nice = [base * 10**power for power in range(-1, 6) for base in bases]
    shown = [tick for tick in nice if low <= tick <= high]
    axis.set_xlim(low, high)
    axis.set_xticks(shown, labels=[f"{tick:g}" for tick in shown])
    axis.set_xticks([], minor=True)


def _names(axis: Any, ends: Sequence[tuple[str, float, float, str]], gap: float) -> None:
    """Writes each rule's name beside the panel, level with its best setting where there is room."""
    low, high = axis.get_ylim()
    ends = sorted(ends, key=lambda end: end[2])
    places = spread([(share - low) / (high - low) for _, _, share, _ in ends], gap)
    for (rule, cost, share, colour), place in zip(ends, places, strict=True):
        axis.annotate(
            rule,
            xy=(cost, share),
            xytext=(1.05, place),
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            color=colour if colour != _GREY else "0.35",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.4, "alpha": 0.5},
            annotation_clip=False,
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Moves ascending places apart, as little as a pass up and one down need.

    Args:
        places: Where names want to stand, ascending, 0 to 1.
        gap: Least distance of two.
    """
    found: list[float] = []
    for place in places:
        found.append(max(place, found[-1] + gap) if found else max(place, 0.0))
    ceiling = max(1.0, gap * (len(found) - 1))
    for number in reversed(range(len(found))):
        found[number] = min(found[number], ceiling)
        ceiling = found[number] - gap
    return found
