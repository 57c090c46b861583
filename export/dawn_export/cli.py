"""`dawn-export`: make an artifact of a checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dawn_export.api import export, real_place
from dawn_export.errors import VerificationError
from dawn_export.options import (
    DEFAULT_DIALECTS,
    INT4_BLOCKS,
    VERIFY_MODES,
    ExportOptions,
)
from dawn_export.publishing.flags import (
    add_push_flags,
    check_push,
    check_push_flags,
    push_as_asked,
)
from dawn_export.publishing.push import Pushed
from dawn_export.quantization.calibration_file import read_calibration
from dawn_export.report import ExportReport
from dawn_export.sources.aliases import alias_table
from dawn_export.tensorrt import PlanReport
from dawn_export.tensorrt.flags import add_flags, check_flags, work_on_plan
from dawn_export.told import FLAGS, add_told_flags, told_of
from dawn_runtime.cli.common import Parser, add_common_flags, place, print_json, run_command
from dawn_runtime.cli.standard import say
from dawn_runtime.contract import DIALECTS, KV_KINDS, PRECISIONS, TARGETS
from dawn_runtime.errors import OptionError

DESCRIPTION = "Export a masked-diffusion language model to ONNX, attention evidence included."

_EXPORTING = (
    *("revision", "output", "precision", "dialect", "evidence_layers", "context_length"),
    *("allow_overflow", "calibration", "static_down_proj", "int4_block", "kv"),
    *("verify", "force", "onnx_genai"),
    *FLAGS,
)
"""Names of the flags that say how a checkpoint becomes an artifact."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return run_command(_parser(), _work, argv)


def run_parsed(args: argparse.Namespace, name: str) -> int:
    """Runs the command as a part of another one and returns its exit status.

    Args:
        args: what a parser read that has the flags of `add_arguments`.
        name: what the command is called there, for messages.
    """
    return run_command(_parser(name), _work, args)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds every flag of the command to the parser of another one."""
    add_common_flags(parser)
    _add_own(parser)


def _parser(name: str = "dawn-export") -> Parser:
    parser = Parser(name, DESCRIPTION)
    _add_own(parser)
    return parser


def _add_own(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        metavar="NAME|DIR|HUB-ID",
        help="a checkpoint folder, a name of --list-models, or an id on the Hugging Face Hub",
    )
    parser.add_argument(
        "--revision", metavar="REV", help="branch, tag or commit on the Hub; default: its main one"
    )
    parser.add_argument(
        "--list-models",
        action=_ListModels,
        nargs=0,
        help="show the names --model knows and what they stand for, and exit",
    )
    parser.add_argument("--output", type=place, metavar="DIR", help="folder of the artifact")
    parser.add_argument("--target", choices=TARGETS, default="cpu", help="default: %(default)s")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="fp32", help="default: %(default)s"
    )
    defaults = ", ".join(f"{dialect} for {name}" for name, dialect in DEFAULT_DIALECTS.items())
    parser.add_argument(
        "--dialect",
        choices=DIALECTS,
        help=f"portable: opset 20, decomposed; fused: opset 23; default: {defaults}",
    )
    parser.add_argument(
        "--evidence-layers",
        type=int,
        default=4,
        metavar="N",
        help="the evidence is the mean over the last N layers; default: %(default)s",
    )
    parser.add_argument(
        "--context-length",
        type=int,
        metavar="N",
        help="longest sequence in tokens, prompt and answer together; default: the model's",
    )
    parser.add_argument(
        "--allow-overflow",
        action="store_true",
        help="let the largest number of the precision stand for weights beyond it",
    )
    parser.add_argument(
        "--calibration",
        type=place,
        metavar="FILE",
        help="calibration.json of dawn-calibrate ranges; int8 and int4-int8 need it with --target "
        "tensorrt, and int8 takes its smoothing with --target cpu",
    )
    parser.add_argument(
        "--static-down-proj",
        action="store_true",
        help="with --target tensorrt --precision int8: round the input of down_proj too; default: "
        "only its weights, because of its outliers",
    )
    parser.add_argument(
        "--int4-block",
        type=int,
        choices=INT4_BLOCKS,
        help="with --precision int4: input channels that share a scale; fewer are more exact, "
        "larger and slower; default: 128 with --target tensorrt, else 32",
    )
    parser.add_argument(
        "--kv",
        choices=KV_KINDS,
        default="float",
        help="what keys and values are kept as: the type of the activations, or 8 bits; default: "
        "%(default)s",
    )
    parser.add_argument(
        "--onnx-genai",
        action="store_true",
        help="write what onnx-genai decodes the artifact with, too: a workflow and three small "
        "graphs, one token a step; for models that attend to everything",
    )
    parser.add_argument(
        "--verify",
        nargs="?",
        choices=VERIFY_MODES,
        const="all",
        help="compare with the checkpoint before it is in place: read back every weight, or a "
        "sample of each, and run as many layers as fit the memory; the result is kept in the "
        "artifact; without a value: %(const)s",
    )
    parser.add_argument("--force", action="store_true", help="replace an artifact that is there")
    _add_artifact(parser)
    add_told_flags(parser)
    add_flags(parser)
    add_push_flags(parser)


def _add_artifact(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--artifact",
        type=place,
        metavar="DIR",
        help="instead of --model: an artifact that is there; with --target tensorrt its plan is "
        "built, on the device, with --push it goes to the Hub as it is",
    )


class _ListModels(argparse.Action):
    """Like --version: prints and exits before anything else is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(alias_table())
        parser.exit()


def _work(args: argparse.Namespace) -> None:
    check_push_flags(args)
    check_flags(args)
    if args.artifact is not None:
        _check_unused(args)
    place = real_place(args.artifact or args.output)  # --force may swap the folder one is in
    check_push(args)
    report = None if args.artifact else _export(args)
    plan = work_on_plan(place, args) if args.target == "tensorrt" else None
    _show(report, plan, push_as_asked(place, args), args)


def _check_unused(args: argparse.Namespace) -> None:
    """Refuses flags that say how to export, where an artifact is there already."""
    usual = vars(_parser().parse_args([]))
    for name in _EXPORTING:
        if getattr(args, name) != usual[name]:
            raise OptionError(
                f"--{name.replace('_', '-')}: goes with --model; got --artifact, which is exported"
            )


def _export(args: argparse.Namespace) -> ExportReport:
    options = ExportOptions(
        target=args.target,
        precision=args.precision,
        dialect=args.dialect,
        evidence_layers=args.evidence_layers,
        context_length=args.context_length,
        allow_overflow=args.allow_overflow,
        calibration=None if args.calibration is None else read_calibration(args.calibration),
        static_down_proj=args.static_down_proj,
        int4_block=args.int4_block,
        kv=args.kv,
        onnx_genai=args.onnx_genai,
    )
    try:
        return export(
            args.model,
            args.output,
            options,
            revision=args.revision,
            force=args.force,
            verify=args.verify,
            progress=not args.quiet,
            told=told_of(args),
        )
    except VerificationError as error:
        _note(error.verification.text(), args)
        raise


def _show(
    report: ExportReport | None,
    plan: PlanReport | Path | None,
    pushed: Pushed | None,
    args: argparse.Namespace,
) -> None:
    """Prints what was exported, what was built of it, and where it was pushed."""
    if report is not None:
        _note(f"dawn-export: mask token {report.mask_token}", args)
    for warning in report.warnings if report else ():
        _note(f"dawn-export: warning: {warning}", args)
    if args.json:
        print_json(_document(report, plan, pushed))
        return
    if report is not None and report.verification is not None:
        print(report.verification.text())
    if report is not None:
        print(report.summary())
    if isinstance(plan, Path):
        print(f"commands for trtexec of TensorRT 10.x and 11.x: {plan}")
    elif plan is not None:
        print(plan.summary())
    if pushed is not None:
        print(pushed.summary())


def _document(
    report: ExportReport | None, plan: PlanReport | Path | None, pushed: Pushed | None
) -> dict[str, object]:
    """The same for JSON."""
    document = report.to_dict() if report else {}
    if isinstance(plan, Path):
        document["commands"] = str(plan)
    elif plan is not None:
        document["plan"] = plan.to_dict()
    if pushed is not None:
        document["pushed"] = pushed.to_dict()
    return document


def _note(message: str, args: argparse.Namespace) -> None:
    """Prints on standard error unless --quiet."""
    if not args.quiet:
        say(message)
