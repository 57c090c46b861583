"""`dawn-calibrate thresholds`: the decoding rule fitted to a model at its precision."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dawn_calibration.cli.flags import (
    HELD_OUT,
    add_checker_flag,
    add_data_flags,
    add_length_flags,
    check_picture,
    check_share,
    checker,
    note,
    note_threads,
    prompts_of_both_sides,
    warn_of_few,
)
from dawn_calibration.judges import check_fields
from dawn_calibration.thresholds.defaults import (
    Change,
    check_changeable,
    restore_published,
    write_tuned,
)
from dawn_calibration.thresholds.grids import GRIDS
from dawn_calibration.thresholds.report import draw_pareto, report_text, to_dict
from dawn_calibration.thresholds.tune import Tuned, TuneOptions, tune
from dawn_export.progress import reporting
from dawn_runtime import Decoder
from dawn_runtime.artifact import read_manifest
from dawn_runtime.cli.common import Parser, count, place, print_json, run_command, threads
from dawn_runtime.errors import OptionError
from dawn_runtime.manifest import Manifest
from dawn_runtime.wording import counted


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status."""
    return run_command(_parser(), _work, argv)


def _parser() -> Parser:
    parser = Parser(
        "dawn-calibrate thresholds",
        "Search the thresholds of a decoding rule: as few forwards as possible at a wanted "
        "agreement with one token per step. Changes nothing without --set.",
    )
    parser.add_argument("artifact", type=place, metavar="ARTIFACT", help="folder of dawn-export")
    parser.add_argument(
        "--set",
        choices=("tuned", "published"),
        help="write the tuned thresholds into the artifact, or bring back those it was exported "
        "with (which needs no prompts)",
    )
    add_data_flags(parser, required=False)
    _add_search(parser)
    add_checker_flag(parser, absent="quality is right answers with it, agreement without")
    add_length_flags(parser)
    parser.add_argument(
        "--threads", type=threads, metavar="N", help="CPU threads; default: as many as help"
    )
    parser.add_argument("--picture", type=place, metavar="FILE.png", help="draw the Pareto picture")
    return parser


def _add_search(parser: Parser) -> None:
    search = parser.add_argument_group("search")
    search.add_argument(
        "--policy", choices=tuple(GRIDS), metavar="NAME", help="default: the artifact's"
    )
    search.add_argument(
        "--agreement",
        type=float,
        metavar="SHARE",
        help="least quality, 0 to 1; default: that of the thresholds the artifact has",
    )
    search.add_argument(
        "--held-out",
        type=float,
        metavar="SHARE",
        help=f"of --data, only to measure on; tasks have items held out; default: {HELD_OUT}",
    )
    search.add_argument(
        "--batch", type=count, default=16, metavar="N", help="prompts together; default: 16"
    )


def _work(args: argparse.Namespace) -> None:
    if args.set == "published":
        _check_published(args)
        _print_change(restore_published(args.artifact), args)
        return
    _check(args)
    judge = checker(args)
    searched, held_out = prompts_of_both_sides(args)
    if judge is not None:
        check_fields([*searched, *held_out])
    policy = args.policy or read_manifest(args.artifact).decoding.policy
    warn_of_few(len(searched), "thresholds may not hold elsewhere, searched on", args)
    options = TuneOptions(
        policy=policy,
        wanted=args.agreement,
        judge=judge,
        batch=args.batch,
        max_new_tokens=args.max_new_tokens,
        block_length=args.block_length,
    )
    with (
        reporting(not args.quiet, "dawn-calibrate"),
        Decoder.open(args.artifact, threads=args.threads) as decoder,
    ):
        note_threads(decoder, args)
        tuned = tune(decoder, searched, held_out, options)
        manifest = decoder.manifest
    _print(tuned, manifest, args)
    if args.picture is not None:
        draw_pareto(tuned, args.picture)


def _check(args: argparse.Namespace) -> None:
    """Refuses what cannot work before any work is done."""
    if args.data is None and args.tasks is None:
        raise OptionError("thresholds need prompts: give --data FILE.jsonl or --tasks")
    check_share(args.agreement, "--agreement")
    check_picture(args)
    if args.set is not None:
        check_changeable(args.artifact)


def _check_published(args: argparse.Namespace) -> None:
    """Refuses flags of the search, which does not take place."""
    usual = vars(_parser().parse_args([str(args.artifact), "--set", args.set]))
    shared = ("artifact", "set", "json", "quiet", "debug")
    for name, value in vars(args).items():
        if name not in shared and value != usual[name]:
            flag = name.replace("_", "-")
            raise OptionError(f"--{flag}: goes with a search; --set published makes none")


def _print(tuned: Tuned, manifest: Manifest, args: argparse.Namespace) -> None:
    """Writes what is to be written and tells all of it, the picture last: it may yet fail."""
    change = None
    if args.set == "tuned" and tuned.gained:
        change = write_tuned(args.artifact, tuned.policy, tuned.chosen.options, manifest)
    if args.json:
        print_json({**to_dict(tuned), "written": change is not None})
        return
    print(report_text(tuned), end="")
    if change is not None:
        _print_change(change, args)
    elif not tuned.gained:
        tried = counted(len(tuned.points), "setting")
        print(f"nothing was written: none of {tried} is better than the one it began with")
    else:
        note("nothing was written; --set tuned makes the thresholds the artifact's defaults", args)


def _print_change(change: Change, args: argparse.Namespace) -> None:
    if args.json:
        print_json({"old": change.old.to_dict(), "new": change.new.to_dict()})
        return
    print(f"{args.artifact}/dawn.json: {'; '.join(change.lines())}")
