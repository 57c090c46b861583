"""`dawn-calibrate default`: the rule that an artifact is decoded by, chosen by measurement."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from dawn_calibration.cli.flags import (
    add_checker_flag,
    add_data_flags,
    add_max_new_tokens,
    check_share,
    checker,
    note,
    note_threads,
    prompts_of_both_sides,
    warn_of_few,
)
from dawn_calibration.judges import check_fields
from dawn_calibration.thresholds.choose import (
    COSTS,
    RULES,
    USUAL_RULES,
    Choice,
    ChooseOptions,
    Tried,
    choose,
    described,
)
from dawn_calibration.thresholds.defaults import check_changeable, write_default
from dawn_export.progress import reporting
from dawn_runtime import Decoder
from dawn_runtime.cli.common import Parser, count, place, print_json, run_command, threads
from dawn_runtime.cli.places import check_apart, destination, given
from dawn_runtime.decoding_defaults import DECODING_FILE
from dawn_runtime.manifest import Manifest
from dawn_runtime.wording import counted


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status."""
    return run_command(_parser(), _work, argv)


def _parser() -> Parser:
    parser = Parser(
        "dawn-calibrate default",
        "Choose the rule and its strength that an artifact is decoded by: the cheapest of those "
        "that answer about as well as one token per step. Changes nothing without --set.",
    )
    parser.add_argument("artifact", type=place, metavar="ARTIFACT", help="folder of dawn-export")
    parser.add_argument(
        "--set",
        choices=("chosen",),
        help="write the chosen rule, and what was measured of it, into the artifact; "
        "dawn-calibrate thresholds ARTIFACT --set published takes it back",
    )
    parser.add_argument(
        "--record",
        type=place,
        metavar="FILE.json",
        help=f"write the same into a file; as {DECODING_FILE} beside a checkpoint it is the "
        "default of what is exported from it",
    )
    add_data_flags(parser)
    add_checker_flag(parser, absent="quality is right answers with it, agreement without")
    _add_choice(parser)
    add_max_new_tokens(parser)
    parser.add_argument(
        "--threads", type=threads, metavar="N", help="CPU threads; default: as many as help"
    )
    return parser


def _add_choice(parser: Parser) -> None:
    choice = parser.add_argument_group("choice")
    choice.add_argument(
        "--policies",
        nargs="+",
        choices=RULES,
        default=list(USUAL_RULES),
        metavar="NAME",
        help=f"among which, at all their strengths: of {', '.join(RULES)}; "
        f"default: {' '.join(USUAL_RULES)}",
    )
    choice.add_argument(
        "--caches",
        nargs="+",
        default=[],
        metavar="NAME",
        help="caches beside which each is tried, such as none dual dual:refresh=8, where it takes "
        "one; default: the one that goes with it",
    )
    choice.add_argument(
        "--cost",
        choices=COSTS,
        default=COSTS[0],
        help="in what the chosen one is cheapest: runs of the engine, positions fed in them, or "
        f"wall time on this machine; default: {COSTS[0]}",
    )
    choice.add_argument(
        "--most-lost",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="most that it may lose of the right answers, or of the agreement, of one token per "
        "step; default: 0.01, one point",
    )
    choice.add_argument(
        "--held-out",
        type=float,
        metavar="SHARE",
        help="of --data, only to measure on; tasks have items held out; default: 0.5",
    )
    choice.add_argument(
        "--batch", type=count, default=16, metavar="N", help="prompts together; default: 16"
    )


def _work(args: argparse.Namespace) -> None:
    check_share(args.most_lost, "--most-lost")
    if args.set is not None:
        check_changeable(args.artifact)
    if args.record is not None:
        args.record = destination(args.record, "--record")
        check_apart({"--record": args.record.path}, given([("--data", args.data)]))
    judge = checker(args)
    searched, held_out = prompts_of_both_sides(args)
    if judge is not None:
        check_fields([*searched, *held_out])
    warn_of_few(len(searched), "the choice may not hold elsewhere, made on", args)
    options = ChooseOptions(
        source=_source(args),
        rules=tuple(dict.fromkeys(args.policies)),
        caches=tuple(dict.fromkeys(args.caches)),
        cost=args.cost,
        most_lost=args.most_lost,
        judge=judge,
        batch=args.batch,
        max_new_tokens=args.max_new_tokens,
    )
    with (
        reporting(not args.quiet, "dawn-calibrate"),
        Decoder.open(args.artifact, threads=args.threads) as decoder,
    ):
        note_threads(decoder, args)
        choice = choose(decoder, searched, held_out, options)
        manifest = decoder.manifest
    _print(choice, manifest, args)


def _source(args: argparse.Namespace) -> str:
    """What the prompts are, for people: no place on a disk, which is nobody else's business."""
    if args.data is not None:
        return f"lines of {Path(args.data).name}"
    names = {question.strip() for question in args.tasks.split(",")}
    return f"held-out items of {'all tasks' if names == {'all'} else args.tasks}"


def _print(choice: Choice, manifest: Manifest, args: argparse.Namespace) -> None:
    """Writes what is to be written and tells all of it."""
    change = None
    if args.record is not None:
        args.record.write(json.dumps(choice.chosen.to_dict(), indent=2) + "\n")
    if args.set is not None:
        change = write_default(args.artifact, choice.chosen, manifest)
    if args.json:
        print_json({**asdict(choice), "written": change is not None})
        return
    print("\n".join(_lines(choice)))
    if change is not None:
        print(f"{args.artifact}/dawn.json: {'; '.join(change.lines())}")
    elif args.record is None:
        note("nothing was written; --set chosen makes it the artifact's default", args)


def _lines(choice: Choice) -> Iterator[str]:
    searched, held_out = choice.prompts
    yield f"{choice.criterion}, on {counted(searched, 'prompt')}:"
    yield from _table(choice.tried, choice.quality)
    for rule, reason in choice.refused:
        yield f"not tried: {rule}: {reason}"
    yield ""
    yield f"Chosen: {described(choice.chosen)}"
    yield ""
    yield f"One token per step, the present default and the chosen, on {held_out} other prompts:"
    yield from _table(choice.held_out, choice.quality)


def _table(tried: Sequence[Tried], quality: str) -> Iterator[str]:
    names = [described(one.rule) for one in tried]
    width = max(map(len, names))
    yield f"{'':<{width}}{quality + ' %':>18}{'forwards':>10}{'rows':>9}{'ms':>9}"
    for name, one in zip(names, tried, strict=True):
        score = one.score
        yield (
            f"{name:<{width}}{100 * score.quality:>18.1f}{score.forwards:>10.2f}"
            f"{score.rows:>9.0f}{score.milliseconds:>9.1f}"
        )
