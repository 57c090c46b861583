"""What a new token costs at several lengths, and what of it grows with the length.

    python scripts/bench_lengths.py build/random-0.5b-int8 --lengths 512 1024 2048 4096 --threads 2
    python scripts/bench_lengths.py ARTIFACT --windows pruned:near=96,recent=256 --caches none dual

A prompt of `--prompt-tokens` is followed by so many undecided tokens that both together have the
length. Of these the last `--new-tokens` are decided, those before them count as text, so that every
length is measured at its end, where most is looked at. Lengths take turns, so that a busy machine
slows all alike; each turn is a whole answer. With --threads 1 time is that of the processor, which
others do not change, and with more that of the clock. Standard output gets a table, or JSON with
--json:

    rows       positions fed, for a new token
    keys       keys that a run is given, kept ones and those of what it feeds, mean over the runs
    ms         time for a new token, median of the turns
    outside    how much of that is outside the engine
    ratio      to the cheapest length of the turn, median
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np

from dawn_runtime import Artifact, Engine, StepInputs, StepOutputs, open_engine
from dawn_runtime.cli.common import Parser, count, print_json, run_command
from dawn_runtime.decoding import CACHES, WINDOWS, Batch, Packer, RowState, Unmask
from dawn_runtime.engine_info import EngineInfo
from dawn_runtime.errors import OptionError
from dawn_runtime.policies import POLICIES

HEAD = (
    f"{'window':<34}{'cache':<22}{'length':>7}{'rows':>8}{'keys':>8}{'ms':>9}{'outside':>9}"
    f"{'ratio':>7}"
)


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        seconds: for a new token.
        engine_seconds: of these inside the engine.
        rows: positions fed for a new token.
        keys: keys that a run is given, mean.
    """

    seconds: float
    engine_seconds: float
    rows: float
    keys: float


@dataclass(frozen=True)
class Cost:
    """What one way to decode costs at one length; see the module.

    Attributes:
        window: with its options.
        cache: likewise.
        length: of prompt and answer.
        rows: positions fed for a new token.
        keys: mean over the runs.
        milliseconds: for a new token.
        outside: of these outside the engine.
        ratio: to the cheapest length.
    """

    window: str
    cache: str
    length: int
    rows: float
    keys: float
    milliseconds: float
    outside: float
    ratio: float


class Counting:
    """An engine that counts the keys that its runs are given, and its time.

    Args:
        engine: Runs the model.
        clock: Tells the time in seconds.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine, self.clock = engine, clock
        self.keys: list[int] = []
        self.seconds = 0.0

    def describe(self) -> EngineInfo:
        """Returns what the engine says of itself."""
        return self._engine.describe()

    def run(self, inputs: StepInputs) -> StepOutputs:
        """Runs a step."""
        self.keys.append(inputs.attention_mask.shape[-1])
        started = self.clock()
        outputs = self._engine.run(inputs)
        self.seconds += self.clock() - started
        return outputs

    def close(self) -> None:
        """Closes the engine."""
        self._engine.close()


def main() -> int:
    """Measure and print."""
    return run_command(_parser(), _work)


def _parser() -> Parser:
    parser = Parser("bench_lengths", "What a new token costs at several lengths.")
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT")
    parser.add_argument("--lengths", type=count, nargs="+", default=[512, 1024, 2048, 4096])
    parser.add_argument("--prompt-tokens", type=count, default=64)
    parser.add_argument("--new-tokens", type=count, default=64, help="tokens that are decided")
    parser.add_argument("--policy", default="one-per-step")
    parser.add_argument("--windows", nargs="+", default=["blocks", "pruned:recent=256"])
    parser.add_argument("--caches", nargs="+", default=["none", "dual"])
    parser.add_argument("--threads", type=count, default=None)
    parser.add_argument("--repeat", type=count, default=3, help="turns")
    return parser


def _work(arguments: argparse.Namespace) -> None:
    artifact = Artifact.open(arguments.artifact)
    _check(arguments, artifact.manifest.dims.max_length)
    policy = POLICIES.parse(arguments.policy)
    ways = [
        (window, cache, Unmask(policy, WINDOWS.parse(window), CACHES.parse(cache)))
        for window, cache in product(arguments.windows, arguments.caches)
    ]
    output = sys.stderr if arguments.json else sys.stdout
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    engine = Counting(open_engine(artifact, threads=arguments.threads), clock)
    costs: list[Cost] = []
    print(HEAD, file=output)
    try:
        for window, cache, scheme in ways:
            mask = artifact.manifest.tokens.mask
            shift = artifact.manifest.prediction_shift
            found = measured(engine, scheme, arguments, mask, shift)
            own = list(_costs(window, cache, arguments.lengths, found))
            print(*map(_line, own), sep="\n", file=output, flush=True)
            costs += own
    finally:
        engine.close()
    if arguments.json:
        names = ("prompt_tokens", "new_tokens", "policy", "repeat")
        setting = {name: getattr(arguments, name) for name in names}
        print_json({**setting, "costs": [asdict(cost) for cost in costs]})


def _check(arguments: argparse.Namespace, longest: int) -> None:
    """Refuses lengths that the model or the numbers of tokens do not allow."""
    least = arguments.prompt_tokens + arguments.new_tokens
    for length in arguments.lengths:
        if not least <= length <= longest:
            raise OptionError(
                f"--lengths: got {length}, expected {least} (--prompt-tokens and --new-tokens) "
                f"to {longest} (what the artifact allows)"
            )


def measured(
    engine: Counting, scheme: Unmask, arguments: argparse.Namespace, mask: int, shift: int
) -> list[list[Answer]]:
    """Returns the answers of each turn, one for each length; a first turn is not counted."""
    turns = []
    for turn in range(arguments.repeat + 1):
        rows = [_row(length, arguments, mask, shift) for length in arguments.lengths]
        own = [_answer(engine, scheme, row) for row in rows]
        turns += [own] if turn else []
    return turns


def _row(length: int, arguments: argparse.Namespace, mask: int, shift: int) -> RowState:
    """Random text with undecided positions at its end; which text does not change the time."""
    ids = np.random.default_rng(0).integers(0, min(mask, 1000), length)
    ids[length - arguments.new_tokens :] = mask
    return RowState.fill(ids, arguments.prompt_tokens, mask, shift=shift)


def _answer(engine: Counting, scheme: Unmask, row: RowState) -> Answer:
    """Decodes a row to its end."""
    engine.keys.clear()
    engine.seconds = 0.0
    packer = Packer.for_engine(0, engine.describe())
    batch = Batch(engine, packer, max_rows=1, max_tokens=row.length)
    new, key = int(row.masked.sum()), batch.admit(row, scheme)
    started = engine.clock()
    while batch.active:
        batch.step()
    seconds = engine.clock() - started
    keys = statistics.mean(engine.keys)
    return Answer(seconds / new, engine.seconds / new, batch.row(key).fed / new, keys)


def _costs(
    window: str, cache: str, lengths: list[int], turns: list[list[Answer]]
) -> Iterator[Cost]:
    """What the turns come to, length by length."""
    for place, length in enumerate(lengths):
        own = [turn[place] for turn in turns]
        cheapest = [min(one.seconds for one in turn) for turn in turns]
        yield Cost(
            window=window,
            cache=cache,
            length=length,
            rows=own[0].rows,
            keys=own[0].keys,
            milliseconds=1e3 * statistics.median(one.seconds for one in own),
            outside=1e3 * statistics.median(one.seconds - one.engine_seconds for one in own),
            ratio=statistics.median(
                one.seconds / least for one, least in zip(own, cheapest, strict=True)
            ),
        )


def _line(cost: Cost) -> str:
    return (
        f"{cost.window:<34}{cost.cache:<22}{cost.length:>7}{cost.rows:>8.1f}{cost.keys:>8.1f}"
        f"{cost.milliseconds:>9.2f}{cost.outside:>9.2f}{cost.ratio:>7.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
