"""Two results beside each other, measured at two times: cases that both have, ratios, intervals.

Turns of two runs do not go in pairs. Each median lies in its interval of 97.5 %, so with at least
95 % both do, and the ratio lies between the quotients of their outer ends.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from dawn_runtime.bench.plan import Case
from dawn_runtime.bench.record import Measurement, Record
from dawn_runtime.bench.report import describe, span
from dawn_runtime.bench.statistics import SURE, interval
from dawn_runtime.errors import OptionError

_SHARE: Final = 1 - (1 - SURE) / 2

_HEAD: Final = (
    f"{'case':<40}{'A s':>10}{'B s':>10}{'B over A':>10}{'95 %':>13}{'forwards A, B':>16}"
)
LEGEND: Final = (
    "B over A: tokens/s of B, those of A being 1; its interval is of two runs, not of turns in "
    "pairs, wider for it, and of 95 % from seven turns of each on: --compare times in pairs"
)


@dataclass(frozen=True, slots=True)
class Compared:
    """One case in both results.

    Attributes:
        case: As the first result has it.
        seconds: Of each, medians.
        tokens_per_second: Of each.
        forwards: Of each.
        ratio: Tokens a second of the second over those of the first.
        ratio_interval: Of `ratio`, see the module.
    """

    case: Case
    seconds: tuple[float, float]
    tokens_per_second: tuple[float, float]
    forwards: tuple[int, int]
    ratio: float
    ratio_interval: tuple[float, float]

    def line(self) -> str:
        """For people."""
        a, b = self.seconds
        return (
            f"{describe(self.case):<40}{a:>10.3f}{b:>10.3f}{self.ratio:>10.2f}"
            f"{span(self.ratio_interval):>13}{f'{self.forwards[0]}, {self.forwards[1]}':>16}"
        )


def compare(first: Record, second: Record) -> list[Compared]:
    """Compares the cases that both have; artifacts match by their place, not by their folder.

    Raises:
        OptionError: They have none in common.
    """
    theirs = _by_case(second)
    mine = _by_case(first)
    found = [_compared(mine[key], theirs[key]) for key in mine if key in theirs]
    if not found:
        raise OptionError(
            "compare: the results have no case in common; measure both with the same flags"
        )
    return found


def differences(first: Record, second: Record) -> list[str]:
    """Says what else differs between two results, one line each: each may be the reason."""
    found = []
    for name, a, b in _facts(first.header, second.header):
        if a != b:
            found.append(f"differs: {name}: {a} | {b}")
    return found + [f"{mark}: {line}" for mark, line in _remarks(first, second)]


def table(found: list[Compared]) -> str:
    """Lines for people."""
    return "\n".join([_HEAD, *(one.line() for one in found)])


def to_dict(found: list[Compared], differs: list[str]) -> dict[str, Any]:
    """Returns it for JSON."""
    compared = []
    for one in found:
        document = asdict(one)
        compared.append({**document.pop("case"), **document})
    return {"compared": compared, "differences": differs}


def _by_case(record: Record) -> dict[tuple[int, Case], Measurement]:
    place = {folder: number for number, folder in enumerate(record.artifacts)}
    return {(place[one.case.artifact], one.case.combination): one for one in record.measured}


def _compared(a: Measurement, b: Measurement) -> Compared:
    """Tokens a second are tokens over seconds; tokens are counted, seconds are measured."""
    share = b.tokens / a.tokens if a.tokens else 0.0
    (a_low, a_high), (b_low, b_high) = (interval(one.turns, _SHARE) for one in (a, b))
    return Compared(
        case=a.case,
        seconds=(a.seconds, b.seconds),
        tokens_per_second=(a.tokens_per_second, b.tokens_per_second),
        forwards=(a.forwards, b.forwards),
        ratio=share * a.seconds / b.seconds,
        ratio_interval=(share * a_low / b_high, share * a_high / b_low),
    )


def _facts(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    yield "machine", a["machine"]["line"], b["machine"]["line"]
    for name in ("processor", "power_mode", "engine"):
        yield name, a["machine"].get(name), b["machine"].get(name)
    yield "version of dawn-edge", a.get("dawn_edge"), b.get("dawn_edge")
    yield "prompts", a["prompts"]["source"], b["prompts"]["source"]
    yield "hash of the prompts", a["prompts"]["sha256"][:12], b["prompts"]["sha256"][:12]
    for name in ("window", "guard", "options", "repeat"):
        yield name, a.get(name), b.get(name)


def _remarks(first: Record, second: Record) -> Iterator[tuple[str, str]]:
    for mark, record in (("A", first), ("B", second)):
        for line in record.header["remarks"]:
            yield mark, line
