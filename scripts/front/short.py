"""The front of an artifact in one table: a setting a row, a group of tasks a column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from front.report import Table
from front.summary import Row


def short(tables: Sequence[Table]) -> str:
    """Returns a table in Markdown for each artifact.

    A cell of a group is the share of right answers, half the width of its interval of 95 %, and
    forwards an answer; those that no other setting beats in the two are bold. Positions fed and
    milliseconds are those of the first group, all tasks.

    Args:
        tables: By artifact and group, with the same settings for all groups of an artifact.
    """
    names = dict.fromkeys(table.artifact for table in tables)
    parts = [_artifact([table for table in tables if table.artifact == name]) for name in names]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _artifact(tables: Sequence[Table]) -> Iterator[str]:
    groups = [f"{table.group} ({table.rows[0].items})" for table in tables]
    yield f"### {tables[0].artifact}"
    yield ""
    yield _line(["rule", "setting", *groups, "rows fed", "ms"])
    yield _line(["---"] * (len(groups) + 4))
    for rows in zip(*(table.rows for table in tables), strict=True):
        first = rows[0]
        costs = f"{first.costs['rows']:.0f}", f"{first.costs['ms']:.1f}"
        yield _line([first.setting.rule, str(first.setting), *map(_cell, rows), *costs])


def _cell(row: Row) -> str:
    low, high = row.interval
    figures = f"{100 * row.share:.1f} ± {50 * (high - low):.1f}, {row.costs['forwards']:.2f}"
    return f"**{figures}**" if "forwards" in row.fronts else figures


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
