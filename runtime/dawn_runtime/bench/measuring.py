"""One case once: the same prompts, batch by batch, timed step by step."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.decoder import Decoder
from dawn_runtime.machine.energy import EnergyMeter
from dawn_runtime.machine.resident import begin_peak, peak_resident_bytes
from dawn_runtime.open_batch import OpenBatch
from dawn_runtime.results import Result
from dawn_runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Timed:
    """What the prompts of a case took, decoded once.

    Attributes:
        seconds: Wall time of all steps.
        engine_seconds: Part of it inside the engine.
        steps: Seconds of each step.
        first: Seconds from the first step of a batch to the first committed token, of each answer.
        answers: Seconds from there to the end of the answer, of each.
        tokens: Those that a reader gets.
        forwards: Runs of the engine, of each batch as many as its longest row takes part in.
        rows_fed: Positions fed, over all rows and runs.
        head_rows: Of how many of them the head was computed.
        peak_bytes: Most resident memory meanwhile; None where the system does not tell.
        joules: By source; empty where the machine does not tell.
    """

    seconds: float
    engine_seconds: float
    steps: tuple[float, ...]
    first: tuple[float, ...]
    answers: tuple[float, ...]
    tokens: int
    forwards: int
    rows_fed: int
    head_rows: int
    peak_bytes: int | None = None
    joules: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, parts: Sequence["Timed"], peak_bytes: int | None, joules: dict[str, float]
    ) -> "Timed":
        """Returns what several batches took, one after the other."""
        return cls(
            seconds=sum(part.seconds for part in parts),
            engine_seconds=sum(part.engine_seconds for part in parts),
            steps=tuple(one for part in parts for one in part.steps),
            first=tuple(one for part in parts for one in part.first),
            answers=tuple(one for part in parts for one in part.answers),
            tokens=sum(part.tokens for part in parts),
            forwards=sum(part.forwards for part in parts),
            rows_fed=sum(part.rows_fed for part in parts),
            head_rows=sum(part.head_rows for part in parts),
            peak_bytes=peak_bytes,
            joules=joules,
        )


def tokens_read(result: Result, special: Sequence[int]) -> int:
    """Counts the tokens of an answer that its reader gets: neither ends nor padding.

    Args:
        result: The answer, not that to a template.
        special: Ids with a meaning, `SpecialTokens.all`.
    """
    return int((~np.isin(result.tokens, special)).sum())


def batches(ids: Sequence[IntArray], rows: int) -> Iterator[Sequence[IntArray]]:
    """Gives prompts, so many together; the last ones may be fewer."""
    for start in range(0, len(ids), rows):
        yield ids[start : start + rows]


def warm_up(decoder: Decoder, ids: Sequence[IntArray], settings: Settings, runs: int) -> None:
    """Runs an engine on the first prompts, untimed: buffers, pages and clocks come up.

    Args:
        decoder: Of the artifact.
        ids: Prompts that are decoded together.
        settings: Of the case.
        runs: Of the engine.
    """
    short: Settings = {**settings, "max_forwards": runs}
    decoder.generate_batch(ids, **short)


def timed(
    decoder: Decoder,
    ids: Sequence[IntArray],
    rows: int,
    settings: Settings,
    meter: EnergyMeter,
) -> Timed:
    """Decodes prompts and returns what it took.

    Args:
        decoder: Of the artifact.
        ids: int64 [P] each, at least one.
        rows: How many are decoded together at most.
        settings: Of the case.
        meter: Of the energy.

    Raises:
        EngineError: The engine failed.
    """
    begin_peak()
    meter.start()
    try:
        parts = [_together(decoder, some, settings) for some in batches(ids, rows)]
    finally:
        joules = meter.stop()
    peak = None
    with suppress(OSError):  # a system that does not tell
        peak = peak_resident_bytes()
    return Timed.of(parts, peak, joules)


def _together(decoder: Decoder, ids: Sequence[IntArray], settings: Settings) -> Timed:
    """Decodes some prompts in one batch."""
    rooms = [decoder.room(one, **settings) for one in ids]
    rows = sum(room[0] for room in rooms)
    longest = max(room[1] for room in rooms)
    with decoder.batch(max_rows=rows, max_tokens=rows * longest) as batch:
        keys = [batch.admit(one, **settings) for one in ids]
        steps, first, ends = _run(batch)
        seconds, engine_seconds = batch.seconds, batch.engine_seconds
        results = [batch.leave(key) for key in keys]
    special = decoder.manifest.tokens.all
    return Timed(
        seconds=seconds,
        engine_seconds=engine_seconds,
        steps=tuple(steps),
        first=tuple(first[key] for key in keys if key in first),
        answers=tuple(ends[key] for key in keys),
        tokens=sum(tokens_read(result, special) for result in results),
        forwards=max(result.forwards for result in results),
        rows_fed=sum(result.rows_fed for result in results),
        head_rows=sum(result.head_rows for result in results),
    )


def _run(batch: OpenBatch) -> tuple[list[float], dict[int, float], dict[int, float]]:
    """Takes all steps: seconds of each, and when each request had a token, and was over."""
    steps, first, ends, before = list[float](), dict[int, float](), dict[int, float](), 0.0
    while events := batch.step():
        now = batch.seconds
        if now > before:  # a step that a limit left nobody for takes no time
            steps.append(now - before)
        before = now
        for event in events:
            if event.commits:
                first.setdefault(event.key, now)
            if event.finished:
                ends[event.key] = now
    return steps, first, ends
