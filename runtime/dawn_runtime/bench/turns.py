"""All cases in turn, so that what slows the machine slows all alike, and what comes of it."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from dawn_runtime.bench.measuring import Timed, timed, warm_up
from dawn_runtime.bench.plan import Case, Rules
from dawn_runtime.bench.prompts import Prompts
from dawn_runtime.bench.record import Measurement
from dawn_runtime.bench.statistics import Quantiles, interval, rotated
from dawn_runtime.decoder import Decoder
from dawn_runtime.machine.energy import EnergyMeter

Decoders = Mapping[tuple[str, int | None], Decoder]
"""Folder and threads as asked for -> an open artifact."""


def in_turns(
    cases: Sequence[Case],
    decoders: Decoders,
    prompts: Callable[[Case], Prompts],
    rules: Rules,
    *,
    repeat: int,
    warm_up_runs: int,
    meter: EnergyMeter,
    tell: Callable[[int, Case], None],
) -> list[list[Timed]]:
    """Decodes all prompts with every case, again and again.

    Args:
        cases: At least one.
        decoders: Of all of them.
        prompts: What a case is asked.
        rules: What they have in common.
        repeat: Turns; each begins with another case than the one before.
        warm_up_runs: Runs of the engine of each case before anything is timed.
        meter: Of the energy.
        tell: Is called with the number of the turn, from 0, and the case that comes next.

    Returns:
        The turns of each case, in the order of the cases.
    """
    asked = [(case, prompts(case)) for case in cases]
    settings = [rules.settings(case, whole=own.is_random) for case, own in asked]
    opened = [decoders[case.artifact, case.threads] for case in cases]
    for (case, own), decoder, how in zip(asked, opened, settings, strict=True):
        warm_up(decoder, own.ids[: case.batch], how, warm_up_runs)
    turns: list[list[Timed]] = [[] for _ in cases]
    for number in range(repeat):
        for place in rotated(len(cases), number):
            case, own = asked[place]
            tell(number, case)
            found = timed(opened[place], own.ids, case.batch, settings[place], meter)
            turns[place].append(found)
    return turns


def summaries(cases: Sequence[Case], turns: Sequence[Sequence[Timed]]) -> list[Measurement]:
    """Returns what the turns of each case come to.

    Args:
        cases: At least one.
        turns: Of each of them, as `in_turns` returns them.
    """
    first_of: dict[Case, Sequence[Timed]] = {}
    for case, own in zip(cases, turns, strict=True):
        first_of.setdefault(case.combination, own)
    return [
        _summary(case, own, turns[0], first_of[case.combination])
        for case, own in zip(cases, turns, strict=True)
    ]


def _summary(
    case: Case, own: Sequence[Timed], first: Sequence[Timed], other: Sequence[Timed]
) -> Measurement:
    """Beside the first case, and beside the first artifact in the same combination."""
    seconds = statistics.median(turn.seconds for turn in own)
    ratios = [_ratio(a, b) for a, b in zip(own, first, strict=True)]
    speedups = [b.seconds / a.seconds for a, b in zip(own, other, strict=True)]
    once = own[0]  # what is counted is the same in every turn
    begun = [value for turn in own for value in turn.first]
    return Measurement(
        case=case,
        tokens_per_second=once.tokens / seconds,
        seconds=seconds,
        tokens=once.tokens,
        answers=len(once.answers),
        forwards=once.forwards,
        rows_fed=once.rows_fed,
        head_rows=once.head_rows,
        milliseconds_per_forward=1e3 * seconds / once.forwards,
        outside_share=statistics.median(1 - turn.engine_seconds / turn.seconds for turn in own),
        first_token=Quantiles.of(begun) if begun else None,
        step=Quantiles.of([value for turn in own for value in turn.steps]),
        answer=Quantiles.of([value for turn in own for value in turn.answers]),
        peak_bytes=max((turn.peak_bytes for turn in own if turn.peak_bytes), default=None),
        joules=_joules(own),
        ratio=statistics.median(ratios),
        ratio_interval=interval(ratios),
        speedup=statistics.median(speedups),
        speedup_interval=interval(speedups),
        turns=tuple(turn.seconds for turn in own),
    )


def _joules(turns: Sequence[Timed]) -> dict[str, float]:
    """Medians of what was measured in every turn."""
    names = [name for name in turns[0].joules if all(name in turn.joules for turn in turns)]
    return {name: statistics.median(turn.joules[name] for turn in turns) for name in names}


def _ratio(own: Timed, first: Timed) -> float:
    """Tokens a second beside those of another case; 0 where nobody got any of the other."""
    if not first.tokens:
        return 0.0
    return own.tokens / first.tokens * (first.seconds / own.seconds)
