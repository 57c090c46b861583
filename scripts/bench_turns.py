"""What `bench_causal` timed, turn by turn, and what it makes of that."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from dawn_runtime.bench.statistics import interval
from told_engine import Run

HEAD = (
    f"{'scheme':<20}{'decides':>8}{'batch':>6}{'tokens/s':>10}{'x AR':>8}{'95 %':>14}"
    f"{'tokens/run':>12}{'rows/run':>10}{'ms/run':>9}{'even at':>9}{'prefill ms':>12}"
)


@dataclass(frozen=True)
class Case:
    """One way of decoding.

    Attributes:
        scheme: how.
        decides: tokens of each row that it is told to decide at once; None where nothing is told.
        batch: rows of the batch.
    """

    scheme: str
    decides: int | None
    batch: int


@dataclass(frozen=True)
class Turn:
    """What a case took in one turn.

    Attributes:
        seconds: of all steps but the first one of a batch.
        tokens: of the answers that were decided in them.
        runs: of the engine in them.
        prefill: seconds of the first steps.
    """

    seconds: float
    tokens: int
    runs: tuple[Run, ...]
    prefill: float

    @classmethod
    def of(cls, parts: Sequence[Turn]) -> Turn:
        """Returns what several batches took, one after the other."""
        return cls(
            sum(part.seconds for part in parts),
            sum(part.tokens for part in parts),
            tuple(run for part in parts for run in part.runs),
            sum(part.prefill for part in parts),
        )

    @property
    def speed(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds

    @property
    def per_run(self) -> float:
        """Seconds of a run, with what is outside the engine."""
        return self.seconds / len(self.runs)


@dataclass(frozen=True)
class Measured:
    """What a case took: medians of all turns.

    Attributes:
        case: which.
        tokens_per_second: of all rows together.
        ratio: tokens a second, those of the plain case in the same turn being 1.
        interval: of `ratio`, see `interval`.
        even_at: seconds of a run, those of the plain case in the same turn being 1.
        tokens_per_run: of each row.
        rows_per_run: positions fed in a run, over all rows of the batch.
        milliseconds_per_run: with what is outside the engine.
        prefill_milliseconds: of the first steps.
        shapes: positions fed of each row -> runs of a turn, and milliseconds of one in the engine.
    """

    case: Case
    tokens_per_second: float
    ratio: float
    interval: tuple[float, float]
    even_at: float
    tokens_per_run: float
    rows_per_run: float
    milliseconds_per_run: float
    prefill_milliseconds: float
    shapes: dict[int, tuple[int, float]]

    def line(self) -> str:
        """For people; columns as in `HEAD`."""
        told = "" if self.case.decides is None else self.case.decides
        low, high = self.interval
        return (
            f"{self.case.scheme:<20}{told:>8}{self.case.batch:>6}{self.tokens_per_second:>10.2f}"
            f"{self.ratio:>8.2f}{f'{low:.2f}-{high:.2f}':>14}{self.tokens_per_run:>12.2f}"
            f"{self.rows_per_run:>10.1f}{self.milliseconds_per_run:>9.2f}{self.even_at:>9.2f}"
            f"{self.prefill_milliseconds:>12.1f}"
        )


def summary(case: Case, turns: Sequence[Turn], plain: Sequence[Turn]) -> Measured:
    """What comes of the turns of a case.

    Args:
        case: which.
        turns: its turns.
        plain: those of autoregressive decoding with the same batch, in the same order.
    """
    pairs = list(zip(turns, plain, strict=True))
    ratios = [own.speed / base.speed for own, base in pairs]
    runs = turns[0].runs  # the same in every turn
    return Measured(
        case=case,
        tokens_per_second=statistics.median(turn.speed for turn in turns),
        ratio=statistics.median(ratios),
        interval=interval(ratios),
        even_at=statistics.median(own.per_run / base.per_run for own, base in pairs),
        tokens_per_run=turns[0].tokens / sum(run.batch for run in runs),
        rows_per_run=statistics.mean(run.batch * run.fed for run in runs),
        milliseconds_per_run=1e3 * statistics.median(turn.per_run for turn in turns),
        prefill_milliseconds=1e3 * statistics.median(turn.prefill for turn in turns),
        shapes=_shapes(turns),
    )


def _shapes(turns: Sequence[Turn]) -> dict[int, tuple[int, float]]:
    """Runs by positions fed."""
    seconds: dict[int, list[float]] = {}
    for turn in turns:
        for run in turn.runs:
            seconds.setdefault(run.fed, []).append(run.seconds)
    return {
        fed: (len(own) // len(turns), 1e3 * statistics.median(own))
        for fed, own in sorted(seconds.items())
    }


def table(found: Sequence[Measured]) -> str:
    """Lines for people."""
    return "\n".join([HEAD, *(one.line() for one in found)])
