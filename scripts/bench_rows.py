"""What a step costs when it checks tokens beside the row: in rows of the batch, or in one row.

    python scripts/bench_rows.py build/random-0.5b-int8 --threads 2

A cached step feeds a block of `--block` tokens over `--cached` kept keys and predicts all of them.
`verify:how=rows` feeds one such row more for each token that it tries, `verify:how=shared` only
what is still open in the block, here half of it. Steps are run in turn, so that a busy machine
slows all alike; times are medians, and costs medians of the ratios to the plain step of the same
turn. Out of them comes how much of the time of a run grows with the tokens fed, the option `cost`
of `verify`: 1 where twice the tokens take twice the time, 0 where they take no longer. Standard
output gets a table, or JSON with --json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dawn_runtime import Artifact, Engine, StepInputs, open_engine
from dawn_runtime.cli.common import Parser, count, print_json, run_command
from dawn_runtime.contract import kv_width
from dawn_runtime.manifest import Manifest

TRIES = (1, 2, 3, 4)


@dataclass(frozen=True)
class Step:
    """One kind of step.

    Attributes:
        how: `plain`, `rows` or `shared`.
        tries: tokens that it checks.
        batch: rows of the batch.
        fed: tokens of each.
    """

    how: str
    tries: int
    batch: int
    fed: int


@dataclass(frozen=True)
class Cost:
    """What a kind of step took.

    Attributes:
        step: which.
        milliseconds: median.
        cost: median ratio to the plain step of the same turn.
    """

    step: Step
    milliseconds: float
    cost: float


def main() -> int:
    """Measure and print."""
    return run_command(_parser(), _work)


def _parser() -> Parser:
    parser = Parser("bench_rows", "What a step costs when it checks tokens beside the row.")
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT")
    parser.add_argument("--block", type=count, default=32, help="tokens of the block")
    parser.add_argument("--cached", type=count, default=224, help="kept keys that all look at")
    parser.add_argument("--threads", type=count, default=None)
    parser.add_argument("--repeat", type=count, default=9, help="turns")
    return parser


def _work(arguments: argparse.Namespace) -> None:
    artifact = Artifact.open(arguments.artifact)
    steps = kinds(arguments.block)
    engine = open_engine(artifact, threads=arguments.threads)
    try:
        inputs = [_inputs(artifact.manifest, step, arguments.cached) for step in steps]
        costs = measured(engine, steps, inputs, arguments.repeat)
    finally:
        engine.close()
    share = growing(costs)
    output = sys.stderr if arguments.json else sys.stdout
    print(table(costs), f"verify:cost={share:.2f}", sep="\n", file=output)
    if arguments.json:
        kinds_found = [asdict(cost) for cost in costs]
        print_json({"artifact": str(arguments.artifact), "costs": kinds_found, "cost": share})


def kinds(block: int) -> list[Step]:
    """All kinds of steps, the plain one first."""
    rows = [Step("rows", tries, tries + 1, block) for tries in TRIES]
    open_ = max(block // 2, 1)
    shared = [Step("shared", tries, 1, block + tries * open_) for tries in TRIES]
    return [Step("plain", 0, 1, block), *rows, *shared]


def _inputs(manifest: Manifest, step: Step, cached: int) -> StepInputs:
    """Random tokens behind keys that are all alike; what is looked at does not change the time."""
    dims, random = manifest.dims, np.random.default_rng(0)
    shape = (step.batch, step.fed)
    rows = np.tile(np.arange(step.fed), (step.batch, 1))
    width = kv_width(dims.head_dim, manifest.kv_dtype)
    past = np.ones((step.batch, dims.kv_heads, cached, width), manifest.kv_dtype)
    return StepInputs(
        input_ids=random.integers(0, dims.vocab_size, shape),
        position_ids=np.minimum(cached + rows, dims.max_length - 1),
        attention_mask=np.ones((step.batch, 1, step.fed, cached + step.fed), dtype=bool),
        logit_rows=rows,
        attention_rows=rows[:, :0],
        past=(past,) * (2 * dims.layers),
    )


def measured(
    engine: Engine, steps: list[Step], inputs: list[StepInputs], repeat: int
) -> list[Cost]:
    """Times all kinds in turn, after a turn that is not counted."""
    seconds: list[list[float]] = [[] for _ in steps]
    for turn in range(repeat + 1):
        for own, one in zip(seconds, inputs, strict=True):
            started = time.perf_counter()
            engine.run(one)
            if turn:
                own.append(time.perf_counter() - started)
    plain = seconds[0]
    return [
        Cost(
            step,
            1e3 * statistics.median(own),
            statistics.median(mine / base for mine, base in zip(own, plain, strict=True)),
        )
        for step, own in zip(steps, seconds, strict=True)
    ]


def growing(costs: list[Cost]) -> float:
    """The share of the time of a run that grows with the tokens fed, 0 to 1: median of all kinds.

    Args:
        costs: The plain step and others.
    """
    plain, *others = costs
    shares = [
        (cost.cost - 1) / (cost.step.batch * cost.step.fed / plain.step.fed - 1) for cost in others
    ]
    return min(1.0, max(0.0, statistics.median(shares)))


def table(costs: list[Cost]) -> str:
    """Lines for people."""
    lines = [f"{'how':<8}{'tries':>6}{'rows':>6}{'tokens':>8}{'ms':>9}{'cost':>7}"]
    for cost in costs:
        step = cost.step
        lines.append(
            f"{step.how:<8}{step.tries:>6}{step.batch:>6}{step.batch * step.fed:>8}"
            f"{cost.milliseconds:>9.1f}{cost.cost:>7.2f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
