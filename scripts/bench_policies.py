"""Time what a policy costs on the host: graph and selection of one step, without the engine.

    python scripts/bench_policies.py
    python scripts/bench_policies.py --artifact build/random-0.5b-onnx

Measured is `Policy.select` on one row, after `Policy.remember` where the policy needs history: for
DAWN that is sink detection over the attention of all rows, edges, anchors and the independent set;
for KLASS it is the softmax over the vocabulary of all undecided positions. Guards are timed around
a threshold that half of the candidates reach. States are drawn at random, a new one for each
repetition (one of two where logits are needed, which are large), with attention as peaked as
trained models have it and confidences spread over (0, 1), so that every branch runs. Of schemes it
is `ask` and `decide`, which lay out drafts, copies and shadows too, along an answer whose
predictions are drawn anew in each step. With `--artifact` the engine runs real steps of the same
length, and the share of a decode step that is spent outside the engine is printed too (packing
included).

Standard output gets tables, or one JSON document with --json.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from dawn_runtime import Decoder
from dawn_runtime.cli.common import Parser, print_json, run_command
from dawn_runtime.decoding import SCHEMES, Answer, Ask, Blocks, RowState, rails
from dawn_runtime.policies import (
    GUARDS,
    POLICIES,
    Guard,
    Policy,
    RowView,
    Threshold,
    guarded,
)

TARGET_MICROSECONDS = 300.0
TARGET_SHARE = 0.03
VOCABULARY = 32_000
LENGTH = 512
SCHEMES_TIMED = ("credit", "edit", "freedave", "info-gain", "p2", "prophet", "verify", "wino")


@dataclass(frozen=True)
class Timing:
    """Microseconds that one selection took."""

    policy: str
    length: int
    block_length: int
    median: float
    p90: float


def main() -> int:
    """Measure and print."""
    return run_command(_parser(), _work)


def _parser() -> Parser:
    parser = Parser("bench_policies", "Time that graph and selection take, policy by policy.")
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 256, 512, 1024])
    parser.add_argument("--block-length", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=500)
    parser.add_argument("--artifact", type=Path, help="exported model for the share of a step")
    parser.add_argument("--threads", type=int, default=2, help="engine threads with --artifact")
    return parser


def _work(arguments: argparse.Namespace) -> None:
    timings = [
        _time_policy(POLICIES.make(name), length, arguments.block_length, arguments.repeat)
        for length in arguments.lengths
        for name in POLICIES.names()
    ]
    timings += [
        _time_policy(Threshold(0.5), length, arguments.block_length, arguments.repeat, guard)
        for length in arguments.lengths
        for guard in map(GUARDS.make, GUARDS.names())
    ]
    timings += [
        _time_scheme(name, length, arguments.block_length, arguments.repeat)
        for length in arguments.lengths
        for name in SCHEMES_TIMED
    ]
    report: dict[str, object] = {"machine": _machine(), "selection": [asdict(t) for t in timings]}
    table = sys.stderr if arguments.json else sys.stdout
    print(_selection_table(timings), file=table)
    if arguments.artifact is not None:
        share = _time_steps(arguments)
        report["step"] = asdict(share)
        print(share, file=table)
    if arguments.json:
        print_json(report)


def _time_policy(
    policy: Policy, length: int, block_length: int, repeat: int, guard: Guard | None = None
) -> Timing:
    rng = np.random.default_rng(length)
    different = 2 if policy.needs.logits else 50  # logits are large
    views = [random_view(rng, length, block_length) for _ in range(min(repeat, different))]
    if policy.needs.logits:
        views = [with_logits(rng, view) for view in views]
    microseconds = []
    for number in range(repeat + 50):
        view = views[number % len(views)]
        started = time.perf_counter()
        if policy.needs.history:
            view = replace(view, memory=policy.remember(view))
        chosen = policy.select(view)
        if guard is not None:
            guarded(view, chosen, view.candidates, (guard,))
        microseconds.append(1e6 * (time.perf_counter() - started))
    name = policy.name if guard is None else f"{policy.name} + {guard.name}"
    return _timing(name, length, block_length, microseconds[50:])


def _timing(name: str, length: int, block_length: int, microseconds: list[float]) -> Timing:
    counted = sorted(microseconds)
    p90 = counted[int(0.9 * len(counted))]
    return Timing(name, length, block_length, statistics.median(counted), p90)


def _time_scheme(name: str, length: int, block_length: int, repeat: int) -> Timing:
    """Times what a scheme asks and decides in the last two blocks, again and again."""
    rng = np.random.default_rng(length)
    view = random_view(rng, length, block_length)
    ids = np.where(view.masked, VOCABULARY, 1)
    begun = row = RowState.fill(ids, view.window[0] % block_length, VOCABULARY)
    windowed = "window" in SCHEMES.fields_of(name)
    scheme = SCHEMES.make(name, {"window": Blocks(block_length)} if windowed else {})
    microseconds = []
    for _ in range(repeat + 50):
        started = time.perf_counter()
        asks = scheme.ask(row)
        asked = time.perf_counter()
        answers = [random_answer(rng, ask) for ask in asks]
        answered = time.perf_counter()
        decision = scheme.decide(row, answers)
        ended = time.perf_counter()
        microseconds.append(1e6 * (asked - started + ended - answered))
        row = rails.apply(row, decision, answers)
        row = begun if row.finished else row
    return _timing(name, length, block_length, microseconds[50:])


def random_answer(rng: np.random.Generator, ask: Ask) -> Answer:
    """What an engine might answer; the same few tokens are the best ones, step after step."""
    count = len(ask.predict)
    logits = None
    tokens = rng.integers(0, 8, count)
    if ask.logits:
        logits = np.zeros((count, VOCABULARY), dtype=np.float32)
        logits[:, :8] = rng.normal(size=(count, 8))
        tokens = logits.argmax(axis=1)
    return Answer(
        ask,
        tokens,
        rng.random(count, dtype=np.float32),
        np.zeros((0, len(ask.tokens)), dtype=np.float32),
        logits=logits,
        margin=rng.random(count, dtype=np.float32),
        entropy=rng.random(count, dtype=np.float32),
    )


def with_logits(rng: np.random.Generator, view: RowView) -> RowView:
    """The same row with logits of its undecided positions."""
    predicted = np.flatnonzero(view.masked)
    logits = rng.normal(size=(len(predicted), VOCABULARY)).astype(np.float32)
    return replace(view, predicted=predicted, logits=logits)


def random_view(rng: np.random.Generator, length: int, block_length: int) -> RowView:
    """A row whose last block but one is half decided, with attention from all rows."""
    end = length - block_length
    begin = end - block_length
    masked = np.zeros(length, dtype=bool)
    masked[begin:end] = rng.random(block_length) < 0.75
    masked[begin] = masked[end:] = True
    scores = rng.normal(size=(length, length)).astype(np.float32) * 2.5
    attention = np.exp(scores - scores.max(axis=1, keepdims=True))
    attention /= attention.sum(axis=1, keepdims=True)
    confidence = rng.random(length, dtype=np.float32)
    positions = np.arange(length)
    return RowView(
        candidates=begin + np.flatnonzero(masked[begin:end]),
        masked=masked,
        window=(begin, end),
        tokens=positions,
        confidence=confidence,
        attention=attention,
        attention_rows=positions,
        attention_keys=positions,
        step=0,
        predicted=positions,
        entropy=(3 * rng.random(length)).astype(np.float32),
        margin=rng.exponential(2, length).astype(np.float32),
    )


def _selection_table(timings: list[Timing]) -> str:
    lines = [_machine(), "", "selection, microseconds a step and row"]
    lines.append(f"{'policy':<26}{'length':>8}{'block':>7}{'median':>9}{'p90':>9}")
    lines += [
        f"{t.policy:<26}{t.length:>8}{t.block_length:>7}{t.median:>9.1f}{t.p90:>9.1f}"
        for t in timings
    ]
    slow = [t.policy for t in timings if t.length == LENGTH and t.median > TARGET_MICROSECONDS]
    target = f"target: {TARGET_MICROSECONDS:.0f} us or less at {LENGTH}: {_verdict(not slow)}"
    lines.append(" ".join([target, *slow]))
    return "\n".join(lines)


def _verdict(reached: bool) -> str:
    return "reached" if reached else "MISSED"


@dataclass(frozen=True)
class StepShare:
    """Where the time of a decode step goes.

    Attributes:
        length: positions of the sequence.
        step_ms: milliseconds of one step, all of it.
        outside_us: microseconds of it outside the engine.
    """

    length: int
    step_ms: float
    outside_us: float

    @property
    def share(self) -> float:
        """The part outside the engine, 0 to 1."""
        return self.outside_us / (1e3 * self.step_ms)

    def __str__(self) -> str:
        return (
            f"\ndecode step at length {self.length}: {self.step_ms:.1f} ms, outside the engine "
            f"{self.outside_us:.0f} us = {100 * self.share:.2f} %\n"
            f"target: {100 * TARGET_SHARE:.0f} % or less: {_verdict(self.share <= TARGET_SHARE)}"
        )


def _time_steps(arguments: argparse.Namespace) -> StepShare:
    """Decode the last block of 512 tokens with DAWN; split a step into engine and the rest."""
    with Decoder.open(arguments.artifact, threads=arguments.threads) as decoder:
        result = decoder.generate(
            input_ids=[1] * (LENGTH - arguments.block_length),
            max_new_tokens=arguments.block_length,
            policy="dawn",
            block_length=arguments.block_length,
            stop_at_eos=False,
        )
    total, engine = result.seconds / result.forwards, result.engine_seconds / result.forwards
    return StepShare(LENGTH, 1e3 * total, 1e6 * (total - engine))


def _machine() -> str:
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{model}, Python {platform.python_version()}, NumPy {np.__version__}"


if __name__ == "__main__":
    sys.exit(main())
