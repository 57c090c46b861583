"""The front in words: tables in Markdown, who is ahead of whom, and a document for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from front.estimates import Interval
from front.summary import BASELINES, COSTS, Ahead, Row

_NAMES = {"forwards": "forwards", "rows": "rows fed", "ms": "time"}
_HEAD = ("rule", "setting", "right %", "95 %", "forwards", "rows", "ms", "on the front by")


@dataclass(frozen=True)
class Table:
    """Settings of one artifact on one group of tasks.

    Attributes:
        artifact: Its name.
        group: Name of the group.
        tasks: Names of its tasks.
        rows: The settings.
        ahead: Who is ahead of whom.
    """

    artifact: str
    group: str
    tasks: tuple[str, ...]
    rows: Sequence[Row]
    ahead: Sequence[Ahead]


def text(tables: Sequence[Table], refused: Mapping[str, Mapping[str, str]]) -> str:
    """Returns everything for people.

    Args:
        tables: By artifact and group.
        refused: Artifact -> rule -> why it cannot be decoded so.
    """
    lines = [line for table in tables for line in _table(table)]
    for artifact, reasons in refused.items():
        lines += [f"{artifact} was not decoded by {rule}: {why}" for rule, why in reasons.items()]
    return "\n".join(lines).rstrip() + "\n"


def to_dict(tables: Sequence[Table], refused: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Returns everything for JSON; arguments as for `text`."""
    return {
        "tables": [
            {
                "artifact": table.artifact,
                "group": table.group,
                "tasks": table.tasks,
                "settings": [_row_document(row) for row in table.rows],
                "ahead": [_ahead_document(one) for one in table.ahead],
            }
            for table in tables
        ],
        "refused": {artifact: dict(reasons) for artifact, reasons in refused.items()},
    }


def _table(table: Table) -> Iterator[str]:
    items = max(row.items for row in table.rows)
    yield f"### {table.artifact}, {table.group}: {items} items of {', '.join(table.tasks)}"
    yield ""
    cells = [_HEAD, *map(_cells, table.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    yield _line(_HEAD, widths)
    yield _line(["-" * width for width in widths], widths)
    yield from (_line(row, widths) for row in cells[1:])
    yield ""
    yield from _verdicts(table.ahead)
    yield ""


def _cells(row: Row) -> tuple[str, ...]:
    forwards, rows, ms = (row.cost_intervals[cost] for cost in COSTS)
    return (
        row.setting.rule,
        str(row.setting),
        f"{100 * row.share:.1f}",
        _span([100 * bound for bound in row.interval]),
        f"{row.costs['forwards']:.2f} ({_span(forwards, 2)})",
        f"{row.costs['rows']:.0f} ({_span(rows, 0)})",
        f"{row.costs['ms']:.1f} ({_span(ms)})",
        ", ".join(_NAMES[cost] for cost in row.fronts),
    )


def _verdicts(ahead: Sequence[Ahead]) -> Iterator[str]:
    """Who is ahead of which baselines, by each cost."""
    baselines = [one for one in BASELINES if any(one == found.baseline for found in ahead)]
    for cost in COSTS:
        won: dict[str, list[Ahead]] = {}
        for one in ahead:
            if one.cost == cost and one.setting is not None:
                won.setdefault(one.rule, []).append(one)
        if not won:
            yield f"- by {_NAMES[cost]} no rule is ahead of {_either(baselines)}"
        for rule, found in won.items():
            of = ", ".join(f"{one.baseline} (at {one.setting})" for one in found)
            every = {one.baseline for one in found} >= set(baselines) - {rule}
            yield f"- by {_NAMES[cost]} `{rule}` is ahead of {'all: ' if every else ''}{of}"


def _either(names: Sequence[str]) -> str:
    return " or ".join(names) if names else "any baseline: none was judged"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"


def _span(bounds: Interval | Sequence[float], digits: int = 1) -> str:
    low, high = bounds
    return f"{low:.{digits}f} to {high:.{digits}f}"


def _row_document(row: Row) -> dict[str, Any]:
    return {
        "rule": row.setting.rule,
        "policy": row.setting.policy,
        "set": dict(row.setting.axes),
        "items": row.items,
        "right": row.share,
        "right_interval": row.interval,
        **row.costs,
        **{f"{cost}_interval": bounds for cost, bounds in row.cost_intervals.items()},
        "fronts": row.fronts,
    }


def _ahead_document(one: Ahead) -> dict[str, Any]:
    setting = None if one.setting is None else dict(one.setting.axes)
    return {"rule": one.rule, "of": one.baseline, "by": one.cost, "at": setting}
