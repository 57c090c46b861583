"""Accuracy against forwards in words: of each rule the settings that none of its own beats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from front.pareto import front
from front.report import Table
from front.summary import Row

_HEAD = ("rule", "setting", "right %", "95 %", "forwards", "95 %", "no rule beats it")
_COST = "forwards"


def text(tables: Sequence[Table]) -> str:
    """Returns a table in Markdown for each group of tasks, and who is ahead of whom."""
    return "\n\n".join("\n".join(_lines(table)) for table in tables)


def _lines(table: Table) -> Iterator[str]:
    items = max(row.items for row in table.rows)
    yield f"### {table.artifact}, {table.group}: {items} items of {', '.join(table.tasks)}"
    yield ""
    yield f"| {' | '.join(_HEAD)} |"
    yield "| --- " * len(_HEAD) + "|"
    yield from (f"| {' | '.join(_cells(row))} |" for row in shown(table.rows))
    yield ""
    won = [one for one in table.ahead if one.cost == _COST and one.setting is not None]
    yield from (f"- `{one.rule}` at {one.setting} is ahead of `{one.baseline}`" for one in won)
    if not won:
        yield "- no rule is ahead of `threshold` or `eb` with intervals apart"


def shown(rows: Sequence[Row]) -> Iterator[Row]:
    """Returns of each rule the rows that none of its own beats, by forwards."""
    for rule in dict.fromkeys(row.setting.rule for row in rows):
        own = [row for row in rows if row.setting.rule == rule]
        yield from (own[number] for number in front([(row.share, row.costs[_COST]) for row in own]))


def _cells(row: Row) -> tuple[str, ...]:
    low, high = row.interval
    least, most = row.cost_intervals[_COST]
    return (
        row.setting.rule,
        str(row.setting),
        f"{100 * row.share:.1f}",
        f"{100 * low:.1f} to {100 * high:.1f}",
        f"{row.costs[_COST]:.2f}",
        f"{least:.2f} to {most:.2f}",
        "yes" if _COST in row.fronts else "",
    )
