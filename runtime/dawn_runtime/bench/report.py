"""What a result tells people: tables for a terminal, Markdown, CSV."""

import csv
import io
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from dawn_runtime.bench.plan import Case
from dawn_runtime.bench.prompts import RANDOM
from dawn_runtime.bench.record import Measurement, Record
from dawn_runtime.bench.statistics import FEWEST, Quantiles
from dawn_runtime.machine.energy import total_joules
from dawn_runtime.wording import counted

Column = tuple[str, int, Callable[[Measurement], str]]
"""Head, width (below 0 from the left), text of a cell."""

_VARIED: Final = (
    ("threads", "threads"),
    ("batch", "batch"),
    ("block_length", "block"),
    ("prompt_tokens", "prompt"),
    ("new_tokens", "new"),
)
"""Fields of a case that have a column where they differ."""

_LEGEND: Final = (
    "x first: tokens/s, those of the first line being 1, median of the ratios within a turn, and "
    "between which it lies",
    "tokens/s: those that a reader gets, neither ends nor padding, over the wall time of all steps",
    "forwards: runs of the engine; rows fed, head rows: positions computed in them, and those of "
    "which the head was",
    "outside %: share of the time spent outside the engine",
)
_LEGEND_TIMES: Final = (
    "first token: to the first committed one, median; step, answer: quantiles over all turns; in "
    "ms; peak: most resident memory of the process, all artifacts in it; J/token: of the machine",
)
_PAIRED: Final = (
    "x ARTIFACT: how many times as fast as the first artifact, in the median of all turns"
)
_FEW: Final = f"of fewer than {FEWEST} turns an interval is from the least to the greatest"


def table(record: Record) -> str:
    """Returns the lines for a terminal: speed, then times and what it took."""
    return f"{_plain(record, _speed(record))}\n{_plain(record, _times(record))}"


def legend(record: Record) -> str:
    """Returns what the columns mean."""
    lines = [*_LEGEND, *_LEGEND_TIMES]
    if len(record.artifacts) > 1:
        lines.append(_PAIRED)
    if record.header["repeat"] < FEWEST:
        lines.append(_FEW)
    return "\n".join(lines)


def head(header: Mapping[str, Any]) -> str:
    """Returns the lines above a table: the machine, what was asked, what may have spoilt it."""
    return "\n".join([header["machine"]["line"], asked(header), *header["remarks"]])


def asked(header: Mapping[str, Any]) -> str:
    """Says what was asked; that it was noise where it was."""
    prompts = header["prompts"]
    count = counted(prompts["count"], "prompt")
    if prompts["source"] == RANDOM:
        return f"{count} of RANDOM TOKENS: rules that adapt decide otherwise on text"
    if prompts["source"] == "shipped":
        return f"{count} that dawn-bench comes with"
    kind = "of the file" if prompts["source"] == "file" else "of held-out tasks"
    return f"{count} {kind} {prompts['name']}"


def markdown(record: Record) -> str:
    """Returns the same as a section of a page: two tables, the command and the machine."""
    command = shlex.join(map(str, record.header["command"]))
    lines = [f"`{command}`", "", f"{record.header['machine']['line']}; {asked(record.header)}."]
    if record.header["remarks"]:
        lines += ["", f"While it ran: {'; '.join(record.header['remarks'])}."]
    for columns in (_speed(record), _times(record)):
        lines += ["", *_rows(record, columns)]
    return "\n".join([*lines, "", f"{'; '.join(legend(record).splitlines())}."]) + "\n"


def csv_text(record: Record) -> str:
    """Returns one line for each case, with all that was measured."""
    rows = [_flat(one.to_dict()) for one in record.measured]
    names = list(dict.fromkeys(name for row in rows for name in row))
    output = io.StringIO()
    writer = csv.DictWriter(output, ["prompts", *names], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({"prompts": record.header["prompts"]["source"], **row})
    return output.getvalue()


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Quantiles, intervals, joules and turns as columns of their own."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, Mapping):
            found |= {f"{name}_{key}": inner for key, inner in value.items()}
        elif isinstance(value, list | tuple):
            ends = ("low", "high") if name.endswith("_interval") else range(1, len(value) + 1)
            found |= {f"{name}_{end}": inner for end, inner in zip(ends, value, strict=True)}
        else:
            found[name] = value
    return found


def _speed(record: Record) -> list[Column]:
    columns: list[Column] = [
        *_naming(record),
        ("tokens/s", 10, lambda one: f"{one.tokens_per_second:.2f}"),
        ("x first", 9, lambda one: f"{one.ratio:.2f}"),
        ("95 %", 13, lambda one: span(one.ratio_interval)),
        ("forwards", 10, lambda one: str(one.forwards)),
        ("rows fed", 10, lambda one: str(one.rows_fed)),
        ("head rows", 11, lambda one: str(one.head_rows)),
        ("ms/forward", 12, lambda one: f"{one.milliseconds_per_forward:.2f}"),
        ("outside %", 11, lambda one: f"{100 * one.outside_share:.1f}"),
    ]
    if len(record.artifacts) > 1:
        columns += [
            ("x ARTIFACT", 12, lambda one: f"{one.speedup:.2f}"),
            ("95 %", 13, lambda one: span(one.speedup_interval)),
            ("  artifact", -9, lambda one: f"  {one.case.artifact}"),
        ]
    return columns


def _times(record: Record) -> list[Column]:
    columns: list[Column] = [
        *_naming(record),
        ("first token", 12, lambda one: _ms(one.first_token)[0]),
        ("step p50", 10, lambda one: _ms(one.step)[0]),
        ("step p90", 10, lambda one: _ms(one.step)[1]),
        ("step p99", 10, lambda one: _ms(one.step)[2]),
        ("answer p50", 12, lambda one: _ms(one.answer)[0]),
        ("answer p90", 12, lambda one: _ms(one.answer)[1]),
        ("answer p99", 12, lambda one: _ms(one.answer)[2]),
        ("tokens", 8, lambda one: str(one.tokens)),
        (
            "peak MB",
            9,
            lambda one: "-" if one.peak_bytes is None else f"{one.peak_bytes / 1e6:.0f}",
        ),
    ]
    if any(one.joules for one in record.measured):
        columns.append(("J/token", 9, _joules))
    if len(record.artifacts) > 1:
        columns.append(("  artifact", -9, lambda one: f"  {one.case.artifact}"))
    return columns


def _naming(record: Record) -> Iterator[Column]:
    """Policy, cache, and what else differs."""
    yield "policy", -14, lambda one: one.case.policy
    yield "cache", -18, lambda one: one.case.cache
    for name, short in _VARIED:
        if len({getattr(one.case, name) for one in record.measured}) > 1:
            yield short, max(8, len(short) + 2), _reader(name)


def _reader(name: str) -> Callable[[Measurement], str]:
    def cell(one: Measurement) -> str:
        value = getattr(one.case, name)
        return "own" if value is None else str(value)

    return cell


def span(ends: tuple[float, float]) -> str:
    """Returns an interval, such as `0.98-1.04`."""
    return f"{ends[0]:.2f}-{ends[1]:.2f}"


def _ms(times: Quantiles | None) -> tuple[str, str, str]:
    if times is None:
        return "-", "-", "-"
    first, second, third = (f"{1e3 * one:.2f}" for one in (times.p50, times.p90, times.p99))
    return first, second, third


def _joules(one: Measurement) -> str:
    total = total_joules(one.joules)
    return "-" if total is None or not one.tokens else f"{total / one.tokens:.3f}"


def _plain(record: Record, columns: Sequence[Column]) -> str:
    lines = ["".join(_padded(name, width) for name, width, _ in columns)]
    lines += [
        "".join(_padded(cell(one), width) for _, width, cell in columns) for one in record.measured
    ]
    return "\n".join(line.rstrip() for line in lines)


def _padded(text: str, width: int) -> str:
    """At least one space away from its neighbour, however long a name is."""
    return f"{text:<{-width}} " if width < 0 else f"{text:>{width}}"


def _rows(record: Record, columns: Sequence[Column]) -> Iterator[str]:
    yield f"| {' | '.join(name.strip() for name, _, _ in columns)} |"
    yield f"| {' | '.join('---' for _ in columns)} |"
    for one in record.measured:
        yield f"| {' | '.join(cell(one).strip() for _, _, cell in columns)} |"


def describe(case: Case) -> str:
    """Names a case in a few words: what is given and not the artifact."""
    words = [case.policy, case.cache]
    for name, short in _VARIED:
        value = getattr(case, name)
        words += [] if value is None else [f"{short} {value}"]
    return " ".join(words)
