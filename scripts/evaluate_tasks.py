"""Share of held-out items a model answers exactly right, task by task.

    python scripts/evaluate_tasks.py build/tiny-dream --items 200
    python scripts/evaluate_tasks.py build/tiny-dream --policy dawn --set tau_edge=0.05
    python scripts/evaluate_tasks.py build/tiny-wedlm --policy default
    python scripts/evaluate_tasks.py build/tiny-nemotron --policy linear-speculation

Items are held out by construction (see dawn_calibration.tasks) and judged by the task's own
checker, not by comparison with one answer. By default one token is decided per step, the slowest
and most careful rule, under the attention the model was trained with and in the artifact's blocks;
`--policy default` is what the artifact records, which is how the authors of its family decode.
Standard output gets a table, or one JSON document with --json.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from dawn_runtime import Decoder
from dawn_runtime.cli.common import Parser, key_value, print_json, run_command
from dawn_runtime.settings import Settings
from held_out import add_item_flags, answer

ARTIFACTS_OWN = "default"
"""The policy that an artifact records."""

HEAD = f"{'task':<17}{'exact %':>8}{'+-':>6}{'items':>7}{'forwards':>10}{'tokens/forward':>16}"


@dataclass(frozen=True)
class Score:
    """One task's outcome.

    Attributes:
        task: its name.
        items: held-out items tried.
        exact: how many were right.
        forwards: mean runs of the engine an item took part in.
        tokens_per_forward: mean tokens decided per run.
        wrong: a few wrong answers, with the reason.
    """

    task: str
    items: int
    exact: int
    forwards: float
    tokens_per_forward: float
    wrong: tuple[str, ...]

    @property
    def percent(self) -> float:
        """Exactly right, in percent."""
        return 100 * self.exact / self.items

    @property
    def margin(self) -> float:
        """Half width of the 95 % interval of `percent`, in points (normal approximation)."""
        share = (self.exact + 1) / (self.items + 2)
        return 196 * math.sqrt(share * (1 - share) / self.items)


def main() -> int:
    """Evaluate and print."""
    return run_command(_parser(), _work)


def _parser() -> Parser:
    parser = Parser("evaluate_tasks", "Share of held-out items answered exactly right.")
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT", help="folder of dawn-export")
    add_item_flags(parser, batch=25, block_length=None)
    parser.add_argument(
        "--policy",
        default="one-per-step",
        help=f"name of a policy or scheme; {ARTIFACTS_OWN} is the artifact's own",
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--show", action="store_true", help="print some wrong answers")
    return parser


def _work(arguments: argparse.Namespace) -> None:
    settings = _settings(arguments)
    table = sys.stderr if arguments.json else sys.stdout
    scores = []
    with Decoder.open(arguments.artifact, threads=arguments.threads) as decoder:
        print(HEAD, file=table)
        for task in arguments.tasks:
            scores.append(_score(decoder, task, arguments, settings))
            print(_line(scores[-1]), file=table, flush=True)
            if arguments.show:
                print("\n".join(f"    {line}" for line in scores[-1].wrong), file=table)
    if arguments.json:
        tasks = [asdict(score) for score in scores]
        asked = {"policy": arguments.policy, "seed": arguments.seed}
        print_json({"artifact": str(arguments.artifact), **settings, **asked, "tasks": tasks})


def _settings(arguments: argparse.Namespace) -> Settings:
    return {
        "policy": None if arguments.policy == ARTIFACTS_OWN else arguments.policy,
        "options": dict(map(key_value, arguments.set)),
        "max_new_tokens": arguments.max_new_tokens,
        "block_length": arguments.block_length,
    }


def _score(decoder: Decoder, task: str, arguments: argparse.Namespace, settings: Settings) -> Score:
    answers = answer(decoder, task, arguments, settings)
    wrong = (
        f"{item.prompt} -> {result.text} ({verdict.reason})"
        for item, result, verdict in zip(
            answers.items, answers.results, answers.verdicts, strict=True
        )
        if not verdict.correct
    )
    return Score(
        task=task,
        items=len(answers.items),
        exact=sum(verdict.correct for verdict in answers.verdicts),
        forwards=statistics.mean(result.forwards for result in answers.results),
        tokens_per_forward=statistics.mean(r.tokens_per_forward for r in answers.results),
        wrong=tuple(itertools.islice(wrong, 3)),
    )


def _line(score: Score) -> str:
    return (
        f"{score.task:<17}{score.percent:>8.1f}{score.margin:>6.1f}{score.items:>7}"
        f"{score.forwards:>10.1f}{score.tokens_per_forward:>16.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
