"""Every rule's accuracy against what it costs, at settings chosen on other items than are judged.

    python scripts/decoding_front.py build/tiny-dream build/tiny-llada --record build/front.jsonl \
        --pictures build --threads 2

First every setting of every rule (`scripts/front/rules.py`) answers `--choose-items` items of each
group of tasks, as many of each of its tasks. The settings of a rule that none of its own beats
there, in right answers, forwards and rows, then answer `--items` others; no problem is on both
sides. Everything that is finished is in `--record`: run the same command again to go on, or to see
the tables again.

Standard output gets a table for all tasks and one for each group of them, with intervals of 95 %,
and which rule is ahead of the usual ones with intervals apart; one table an artifact with --short,
or one JSON document with --json.

Time is that of an answer's batch divided by the answers in it, measured once, in this run: with
--threads 1 that of the processor, which is what the clock shows on a free core and stays it where
other programs run beside; with more threads that of the clock, on a machine that must be quiet.
Of two times only differences of a fifth or more are called one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dawn_calibration.tasks import TASKS
from dawn_runtime import Decoder
from dawn_runtime.artifact import Artifact, sha256_of
from dawn_runtime.cli.common import Parser, count, print_json, run_command
from dawn_runtime.errors import OptionError
from dawn_runtime.manifest import MANIFEST_FILE
from dawn_runtime.pictures import check_pictures
from front.drawing import draw
from front.groups import groups
from front.questions import Phase
from front.record import Conditions, Record
from front.report import Table, text, to_dict
from front.rules import RULES, Setting, settings_of
from front.short import short
from front.summary import Judged
from front.sweep import Sweep, by_rule, progress, refusals
from held_out import add_item_flags


def main() -> int:
    """Decode what is missing, print and draw."""
    return run_command(_parser(), _work)


def _parser() -> Parser:
    parser = Parser("decoding_front", "Every rule's accuracy against what it costs.")
    parser.add_argument("artifacts", type=Path, nargs="+", metavar="ARTIFACT")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES))
    add_item_flags(parser, batch=25, of="group of tasks, evenly")
    parser.set_defaults(items=200)
    parser.add_argument(
        "--choose-items", type=count, default=60, help="others of each group that settings answer"
    )
    parser.add_argument("--most", type=count, default=3, help="settings of a rule that are judged")
    parser.add_argument("--record", type=Path, required=True, help="file of what is finished")
    parser.add_argument("--short", action="store_true", help="one table an artifact, no verdicts")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="draw PNG and SVG there")
    return parser


def _work(arguments: argparse.Namespace) -> None:
    digests = _checked(arguments)
    record = Record(arguments.record)
    tables: list[Table] = []
    refused: dict[str, dict[str, str]] = {}
    for folder, digest in zip(arguments.artifacts, digests, strict=True):
        sweep = _sweep(arguments, folder.name, digest, record)
        judged, refused[folder.name] = _judged(sweep, folder, arguments)
        tables += _tables(sweep, judged)
    for table in tables if arguments.pictures is not None else ():
        draw(table, arguments.pictures)
    if arguments.json:
        print_json(to_dict(tables, refused))
    elif arguments.short:
        print(short(tables), end="")
    else:
        print(text(tables, refused), end="")


def _checked(arguments: argparse.Namespace) -> list[str]:
    """Finds out before hours of work what would stop it; returns the artifacts' digests."""
    names = [folder.name for folder in arguments.artifacts]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"two artifacts are named {name!r}; rename the folder of one of them")
    if arguments.pictures is not None:
        check_pictures()
        if not arguments.pictures.is_dir():
            raise OptionError(f"--pictures {arguments.pictures}: no such folder; create it first")
    return [sha256_of(Artifact.open(one).folder / MANIFEST_FILE) for one in arguments.artifacts]


def _sweep(arguments: argparse.Namespace, name: str, digest: str, record: Record) -> Sweep:
    counts: dict[Phase, int] = {"choose": arguments.choose_items, "judge": arguments.items}
    conditions = {
        phase: Conditions(
            items=items,
            seed=arguments.seed,
            max_new_tokens=arguments.max_new_tokens,
            block_length=arguments.block_length,
            batch=arguments.batch,
            threads=arguments.threads,
        )
        for phase, items in counts.items()
    }
    tasks = tuple(task for task in TASKS if task in arguments.tasks)
    return Sweep(name, digest, record, tasks, conditions, progress(arguments.quiet))


def _judged(
    sweep: Sweep, folder: Path, arguments: argparse.Namespace
) -> tuple[list[Setting], dict[str, str]]:
    """Runs both phases; returns what was judged, and which rules could not be run."""
    settings: Sequence[Setting] = settings_of(tuple(arguments.rules))
    with Decoder.open(folder, threads=arguments.threads) as decoder:
        new = [setting for setting in settings if sweep.missing(setting, "choose")]
        found = refusals(decoder, new, sweep.conditions["choose"])
        refused = by_rule(found, settings)
        settings = [setting for setting in settings if setting not in found]
        if not settings:
            raise OptionError(f"{folder}: no rule can be run: {'; '.join(refused.values())}")
        sweep.run(decoder, settings, "choose")
        chosen = sweep.chosen(settings, arguments.most)
        sweep.run(decoder, chosen, "judge")
    return chosen, refused


def _tables(sweep: Sweep, settings: Sequence[Setting]) -> list[Table]:
    found = []
    for group, tasks in groups(sweep.tasks).items():
        outcomes = [sweep.outcomes(one, "judge", tasks) for one in settings]
        judged = Judged(settings, outcomes, sweep.conditions["judge"].batch)
        found.append(Table(sweep.artifact, group, tasks, judged.rows(), judged.ahead()))
    return found


if __name__ == "__main__":
    sys.exit(main())
