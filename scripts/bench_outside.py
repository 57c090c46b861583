"""What a step costs besides the model: laying out, packing, checking, deciding, committing.

    python scripts/bench_outside.py build/tiny-dream
    python scripts/bench_outside.py build/tiny-dream --against ../before/runtime

An answer is decoded once; then it is decoded again and again by an engine that checks what it is
given and plays back what the model returned. What is left is Python and NumPy, on one row, reading
the prompt and writing the result included. Times are CPU time, which a busy machine makes longer
but not by as much as time on the clock.

With `--against` the `dawn_runtime` of another folder is timed too, in processes that take turns;
ratios are medians over the pairs. Standard output gets a table, or JSON with --json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import dawn_runtime
from dawn_runtime import (
    Artifact,
    DawnError,
    Decoder,
    Engine,
    EngineInfo,
    StepInputs,
    StepOutputs,
    open_engine,
)
from dawn_runtime.cli.common import Parser, count, print_json, run_command
from dawn_runtime.engine.checks import check_inputs

CASES = (
    ("one-per-step", "none"),
    ("one-per-step", "dual"),
    ("one-per-step", "dual:feed=undecided"),
    ("threshold", "none"),
    ("threshold", "dual"),
    ("dawn", "none"),
    ("dawn", "dual"),
)
"""Rules and caches."""


@dataclass(frozen=True)
class Cost:
    """What the steps of a case cost besides the model.

    Attributes:
        policy: The rule.
        cache: The cache strategy.
        steps: Of one answer.
        microseconds: CPU time of a step, a median.
    """

    policy: str
    cache: str
    steps: int
    microseconds: float


class Playback:
    """An engine that returns again what another one returned, in the same order.

    Args:
        engine: The other one.
    """

    concurrent = True

    def __init__(self, engine: Engine) -> None:
        self._engine, self._info = engine, engine.describe()
        self._tape: list[StepOutputs] = []
        self._at = -1

    def describe(self) -> EngineInfo:
        """Returns what the other engine runs."""
        return self._info

    def run(self, inputs: StepInputs) -> StepOutputs:
        """Runs the engine, or checks the inputs as engines do and plays back what it returned."""
        if self._at < 0:
            self._tape.append(self._engine.run(inputs))
            return self._tape[-1]
        check_inputs(inputs, self._info)
        self._at += 1
        return self._tape[self._at - 1]

    def close(self) -> None:
        """Frees the engine."""
        self._engine.close()

    def record(self) -> None:
        """Forgets what was returned; the engine runs from now on."""
        self._tape, self._at = [], -1

    def rewind(self) -> None:
        """Plays back from the first run on."""
        self._at = 0


def main() -> int:
    """Measure and print."""
    return run_command(_parser(), _work)


def _parser() -> Parser:
    parser = Parser("bench_outside", "Time what a step costs besides the model.")
    parser.add_argument("artifact", type=Path, help="folder of an artifact")
    parser.add_argument("--against", type=Path, help="folder with another dawn_runtime")
    parser.add_argument("--pairs", type=count, default=5, help="with --against (5)")
    parser.add_argument("--answers", type=count, default=15, help="of a case in a process (15)")
    parser.add_argument("--tokens", type=count, default=64, help="of the prompt, and new (64)")
    parser.add_argument("--block-length", type=count, default=32)
    return parser


def _work(arguments: argparse.Namespace) -> None:
    if arguments.against is None:
        costs = measure(arguments)
        report, table = [asdict(cost) for cost in costs], _table(costs)
    else:
        if not (arguments.against / "dawn_runtime").is_dir():
            raise DawnError(
                f"{arguments.against}: holds no dawn_runtime; give the folder of the package"
            )
        pairs = [_pair(arguments) for _ in range(arguments.pairs)]
        report = [{"before": asdict(a), "after": asdict(b)} for pair in pairs for a, b in pair]
        table = _paired_table(pairs)
    print(table, file=sys.stderr if arguments.json else sys.stdout)
    if arguments.json:
        print_json({"costs": report})


def measure(arguments: argparse.Namespace) -> list[Cost]:
    """Times every case with the code of this process."""
    artifact = Artifact.open(arguments.artifact)
    with_model = Playback(open_engine(artifact, threads=1))
    decoder = Decoder(artifact.manifest, with_model)
    try:
        return [_cost(decoder, with_model, arguments, *case) for case in CASES]
    finally:
        with_model.close()


def _cost(
    decoder: Decoder, engine: Playback, arguments: argparse.Namespace, policy: str, cache: str
) -> Cost:
    vocabulary = decoder.manifest.dims.vocab_size
    # Ids of every kind but the special ones, which are few.
    forbidden = {decoder.manifest.tokens.mask, *decoder.manifest.tokens.forbidden}
    usual = [number for number in range(vocabulary) if number not in forbidden]
    prompt = [usual[7 * place % len(usual)] for place in range(arguments.tokens)]

    def answer() -> int:
        return decoder.generate(
            input_ids=prompt,
            max_new_tokens=arguments.tokens,
            policy=policy,
            cache=cache,
            block_length=arguments.block_length,
            stop_at_eos=False,
        ).forwards

    engine.record()
    steps, times = answer(), []
    for _ in range(arguments.answers):
        engine.rewind()
        started = time.process_time()
        answer()
        times.append(1e6 * (time.process_time() - started) / steps)
    return Cost(policy, cache, steps, statistics.median(times))


def _pair(arguments: argparse.Namespace) -> list[tuple[Cost, Cost]]:
    """What the other code and this one take, one after the other."""
    own = Path(dawn_runtime.__file__).parent.parent
    before, after = (_elsewhere(arguments, folder) for folder in (arguments.against, own))
    return list(zip(before, after, strict=True))


def _elsewhere(arguments: argparse.Namespace, runtime: Path) -> list[Cost]:
    """Times every case in a process of its own.

    Raises:
        DawnError: It fails.
    """
    paths = [str(runtime), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    options = ("answers", "tokens", "block_length")
    words = [f"--{name.replace('_', '-')}={getattr(arguments, name)}" for name in options]
    done = subprocess.run(
        [sys.executable, __file__, str(arguments.artifact), "--json", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DawnError(f"with {runtime}: {done.stderr.strip().splitlines()[-1]}")
    return [Cost(**one) for one in json.loads(done.stdout)["costs"]]


def _table(costs: Sequence[Cost]) -> str:
    lines = [f"{'rule':<14}{'cache':<22}{'steps':>6}{'us a step':>11}"]
    lines += [f"{c.policy:<14}{c.cache:<22}{c.steps:>6}{c.microseconds:>11.0f}" for c in costs]
    return "\n".join(lines)


def _paired_table(pairs: Sequence[Sequence[tuple[Cost, Cost]]]) -> str:
    lines = [f"{'rule':<14}{'cache':<22}{'steps':>6}{'before':>9}{'after':>9}{'ratio':>8}"]
    for case in zip(*pairs, strict=True):
        before, after = zip(*case, strict=True)
        own = after[0]
        medians = [statistics.median(c.microseconds for c in costs) for costs in (before, after)]
        ratio = statistics.median(b.microseconds / a.microseconds for a, b in case)
        lines.append(
            f"{own.policy:<14}{own.cache:<22}{own.steps:>6}"
            f"{medians[0]:>9.0f}{medians[1]:>9.0f}{ratio:>8.2f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
