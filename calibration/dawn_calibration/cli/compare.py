"""`dawn-calibrate compare`: what a lower precision does to the decisions of decoding."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dawn_calibration.cli.flags import (
    add_checker_flag,
    add_data_flags,
    add_length_flags,
    check_picture,
    checker,
    note_threads,
    questions,
)
from dawn_calibration.compare.comparison import (
    CompareOptions,
    check_same_model,
    compare_artifacts,
    open_side,
)
from dawn_calibration.compare.report import draw_comparison, report_text, to_dict
from dawn_calibration.judges import check_fields, judge_tasks
from dawn_export.progress import reporting
from dawn_runtime import Policy
from dawn_runtime.artifact import read_manifest
from dawn_runtime.cli.common import (
    Parser,
    count,
    key_values,
    place,
    print_json,
    run_command,
    threads,
)
from dawn_runtime.decoding import SCHEMES
from dawn_runtime.errors import OptionError
from dawn_runtime.hub_cache import located
from dawn_runtime.manifest import DecodingDefaults
from dawn_runtime.options import add_policy_flags
from dawn_runtime.policies import POLICIES


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status."""
    return run_command(_parser(), _work, argv)


def _parser() -> Parser:
    parser = Parser(
        "dawn-calibrate compare",
        "Compare two artifacts of one model on the same prompts: decision by decision along the "
        "trajectories of A, then each decoding on its own.",
    )
    parser.add_argument(
        "left", type=place, metavar="A", help="artifact to hold on to, such as fp32"
    )
    parser.add_argument("right", type=place, metavar="B", help="artifact in question, such as int8")
    add_data_flags(parser)
    add_policy_flags(parser, "; rule for both; default: that of A", names=POLICIES.names())
    add_checker_flag(parser, absent="--tasks are judged without it too")
    add_length_flags(parser)
    parser.add_argument(
        "--batch", type=count, default=16, metavar="N", help="prompts together; default: 16"
    )
    parser.add_argument(
        "--threads", type=threads, metavar="N", help="CPU threads; default: as many as help"
    )
    parser.add_argument("--picture", type=place, metavar="FILE.png", help="draw the differences")
    return parser


def _work(args: argparse.Namespace) -> None:
    check_picture(args)
    if args.data is not None and args.seed is not None:
        raise OptionError("--seed: goes with --tasks; got --data, of which all lines are read")
    judge = checker(args)
    prompts = questions(args, "heldout")
    if judge is not None:
        check_fields(prompts)
    manifest = read_manifest(located(args.left))
    check_same_model(manifest, read_manifest(located(args.right)))
    options = CompareOptions(
        policy=_policy(args, manifest.decoding),
        batch=args.batch,
        max_new_tokens=args.max_new_tokens,
        block_length=args.block_length,
        judge=judge_tasks if args.data is None else judge,
    )
    with (
        reporting(not args.quiet, "dawn-calibrate"),
        open_side(args.left, args.threads) as left,
        open_side(args.right, left.threads) as right,
    ):
        note_threads(left.decoder, args)
        found = compare_artifacts(left, right, prompts, options)
    if args.json:
        print_json(to_dict(found))
    else:
        print(report_text(found), end="", flush=True)
    if args.picture is not None:
        draw_comparison(found, args.picture)


def _policy(args: argparse.Namespace, defaults: DecodingDefaults) -> Policy:
    """The rule asked for; the artifact's own options are the base of the artifact's own rule."""
    name = args.policy or defaults.policy
    if args.policy is None and name in SCHEMES:
        raise OptionError(
            f"the default of A, {name}, is a scheme, and compared are the decisions of a policy; "
            "give one with --policy, such as threshold"
        )
    base = defaults.options if name == defaults.policy else {}
    return POLICIES.make(name, {**base, **key_values(args.set)})
