"""Accuracy and cost of policies, windows and caches, side by side on held-out tasks.

    python scripts/compare_decoding.py build/tiny-dream build/tiny-llada --items 100
    python scripts/compare_decoding.py build/tiny-dream --policies dawn --caches none dual:refresh=8

Every combination answers the same items. A line of the table is one combination: the mean accuracy
over the tasks, runs of the engine, positions fed, of how many of them the head was computed, and
milliseconds an item, and the task that lost most against the cache `none` under the same policy and
window, in points (`none` has to be listed first). `changed` is the percentage of answers with
other tokens than those of the first artifact. Guards of --guard are around every policy. With
--tasks-too there is a line for each task besides. Standard output gets the table, or one JSON
document with --json.
"""

from __future__ import annotations

import argparse
import itertools
import operator
import statistics
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dawn_runtime import Decoder
from dawn_runtime.artifact import read_manifest
from dawn_runtime.cli.common import Parser, print_json, run_command
from dawn_runtime.options import add_rule_flag
from dawn_runtime.settings import Settings, make_plan
from held_out import add_item_flags, answer

EXACT = "none"
HEAD = (
    f"{'artifact':<12}{'policy':<14}{'window':<16}{'cache':<48}{'exact %':>8}"
    f"{'forwards':>9}{'rows fed':>9}{'heads':>7}{'ms/item':>9}{'changed':>9}"
    f"  most lost against {EXACT}"
)


@dataclass(frozen=True)
class Combination:
    """What is compared, all by name."""

    artifact: str
    policy: str
    window: str
    cache: str
    guard: tuple[str, ...] = ()


@dataclass(frozen=True)
class Score:
    """One combination on one task; forwards, rows, heads and seconds are means of an item.

    Attributes:
        combination: what was run.
        task: its name.
        percent: items answered exactly right, in percent.
        forwards: runs of the engine.
        rows_fed: positions fed.
        head_rows: of how many the head was computed.
        seconds: wall time, that of a batch shared by its items.
        changed: answers with other tokens than the first artifact gives, in percent.
    """

    combination: Combination
    task: str
    percent: float
    forwards: float
    rows_fed: float
    head_rows: float
    seconds: float
    changed: float


Tokens = dict[tuple[Combination, str], list[tuple[int, ...]]]
"""Combination without its artifact, and task -> tokens of the answers."""


def main() -> int:
    """Run all combinations and print."""
    return run_command(_parser(), _work)


def _parser() -> Parser:
    parser = Parser("compare_decoding", "Accuracy and cost of policies, windows and caches.")
    parser.add_argument("artifacts", type=Path, nargs="+", metavar="ARTIFACT")
    parser.add_argument("--policies", nargs="+", default=["one-per-step", "threshold", "dawn"])
    parser.add_argument("--windows", nargs="+", default=["blocks"])
    parser.add_argument("--caches", nargs="+", default=[EXACT, "prefix", "dual"])
    add_rule_flag(parser, "guard", "; may be repeated, all of them together", action="append")
    add_item_flags(parser, batch=1)
    parser.add_argument("--tasks-too", action="store_true", help="a line for each task besides")
    return parser


def _work(arguments: argparse.Namespace) -> None:
    table = sys.stderr if arguments.json else sys.stdout
    scores: list[Score] = []
    first: Tokens = {}
    guard = tuple(arguments.guard or ())
    _check(arguments, guard)
    print(*(f"guard {one}" for one in guard), HEAD, sep="\n", file=table)
    for artifact in arguments.artifacts:
        with Decoder.open(artifact, threads=arguments.threads) as decoder:
            for policy, window, cache in itertools.product(
                arguments.policies, arguments.windows, arguments.caches
            ):
                combination = Combination(artifact.name, policy, window, cache, guard)
                found = [_score(decoder, combination, t, arguments, first) for t in arguments.tasks]
                scores += found
                lines = [_summary(found, scores)]
                lines += map(_task_line, found) if arguments.tasks_too else []
                print("\n".join(lines), file=table, flush=True)
    if arguments.json:
        names = ("items", "max_new_tokens", "block_length", "batch", "seed")
        setting = {name: getattr(arguments, name) for name in names}
        print_json({**setting, "scores": [asdict(score) for score in scores]})


def _check(arguments: argparse.Namespace, guard: tuple[str, ...]) -> None:
    """Refuses what would fail after the first of many combinations."""
    for artifact, policy in itertools.product(arguments.artifacts, arguments.policies):
        settings: Settings = {"policy": policy, "guard": guard}
        make_plan(settings, read_manifest(artifact).decoding)


def _score(
    decoder: Decoder,
    combination: Combination,
    task: str,
    arguments: argparse.Namespace,
    first: Tokens,
) -> Score:
    made_of_blocks = not combination.window.startswith("single")
    settings: Settings = {
        "policy": combination.policy,
        "window": combination.window,
        "cache": combination.cache,
        "guard": combination.guard,
        "max_new_tokens": arguments.max_new_tokens,
        "block_length": arguments.block_length if made_of_blocks else None,
    }
    answers = answer(decoder, task, arguments, settings)
    tokens = [tuple(result.tokens.tolist()) for result in answers.results]
    expected = first.setdefault((replace(combination, artifact=""), task), tokens)
    return Score(
        combination=combination,
        task=task,
        percent=100 * statistics.mean(verdict.correct for verdict in answers.verdicts),
        forwards=statistics.mean(result.forwards for result in answers.results),
        rows_fed=statistics.mean(result.rows_fed for result in answers.results),
        head_rows=statistics.mean(result.head_rows for result in answers.results),
        seconds=answers.seconds / len(answers.results),
        changed=100 * statistics.mean(map(operator.ne, tokens, expected)),
    )


def _summary(found: list[Score], scores: list[Score]) -> str:
    """One line for a combination, over its tasks."""
    return (
        f"{_names(found[0].combination)}{_mean(found, 'percent'):>8.1f}"
        f"{_mean(found, 'forwards'):>9.1f}{_mean(found, 'rows_fed'):>9.0f}"
        f"{_mean(found, 'head_rows'):>7.0f}"
        f"{1e3 * _mean(found, 'seconds'):>9.1f}{_mean(found, 'changed'):>9.1f}"
        f"  {_most_lost(found, scores)}"
    )


def _task_line(score: Score) -> str:
    return (
        f"{'  ' + score.task:<90}{score.percent:>8.1f}{score.forwards:>9.1f}"
        f"{score.rows_fed:>9.0f}{score.head_rows:>7.0f}{1e3 * score.seconds:>9.1f}"
        f"{score.changed:>9.1f}"
    )


def _names(one: Combination) -> str:
    return f"{one.artifact:<12}{one.policy:<14}{one.window:<16}{one.cache:<48}"


def _mean(found: list[Score], name: str) -> float:
    return statistics.mean(getattr(score, name) for score in found)


def _most_lost(found: list[Score], scores: list[Score]) -> str:
    """The task whose accuracy differs most, for the worse, from that without a cache."""
    exact = {
        (s.combination.artifact, s.combination.policy, s.combination.window, s.task): s.percent
        for s in scores
        if s.combination.cache == EXACT
    }
    lost = []
    for score in found:
        one = score.combination
        reference = exact.get((one.artifact, one.policy, one.window, score.task))
        if reference is not None and one.cache != EXACT:
            lost.append((score.percent - reference, score.task))
    return "{:+.1f} {}".format(*min(lost)) if lost else ""


if __name__ == "__main__":
    sys.exit(main())
