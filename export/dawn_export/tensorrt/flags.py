"""The part of the command line that is about TensorRT."""

from __future__ import annotations

import argparse
from pathlib import Path

from dawn_export.tensorrt import EngineOptions, PlanReport, adopt_plan, build_plan, write_commands
from dawn_export.tensorrt.options import DEFAULT_MAX_LENGTH
from dawn_runtime.artifact import read_manifest
from dawn_runtime.engine.tensorrt.module import find_tensorrt
from dawn_runtime.errors import DependencyError, OptionError

_ONLY = (
    *("onnx_only", "adopt", "max_length", "block_length", "batch"),
    *("logits", "version_compatible", "strip_weights", "for_sm"),
)
"""Names of the flags that other targets do not take."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `--target tensorrt`."""
    group = parser.add_argument_group("with --target tensorrt")
    group.add_argument(
        "--onnx-only",
        action="store_true",
        help="write the graph and the trtexec commands, build nothing",
    )
    group.add_argument("--adopt", metavar="NAME", help="record a plan that trtexec built")
    group.add_argument(
        "--max-length",
        type=int,
        metavar="N",
        help="longest sequence in tokens, prompt and answer together; "
        f"default: {DEFAULT_MAX_LENGTH}, or the artifact's if that is less",
    )
    group.add_argument(
        "--block-length", type=int, metavar="N", help="tokens in a block; default: the artifact's"
    )
    group.add_argument(
        "--batch", type=int, metavar="N", help="most sequences decoded together; default: 1"
    )
    group.add_argument(
        "--logits", action="store_true", help="return logits, for sampling and the policy klass"
    )
    group.add_argument(
        "--version-compatible", action="store_true", help="let newer releases load the plan"
    )
    group.add_argument(
        "--strip-weights", action="store_true", help="take the weights from the graph when loading"
    )
    group.add_argument(
        "--for-sm",
        metavar="X.Y",
        help="compute capability to build for, with TensorRT for RTX; default: the GPU's",
    )


def check_flags(args: argparse.Namespace) -> None:
    """Compares the flags with each other, and with what is installed, before any work.

    Raises:
        OptionError: Flags that do not go together.
        DependencyError: A plan shall be built, and no TensorRT is installed.
    """
    if args.target != "tensorrt":
        # Not `in (None, False)`, which 0 is too.
        given = [n for n in _ONLY if getattr(args, n) is not None and getattr(args, n) is not False]
        if given:
            flag = given[0].replace("_", "-")
            raise OptionError(f"--{flag}: goes with --target tensorrt; got --target {args.target}")
    if (args.artifact is None) == (args.model is None):
        raise OptionError("give either --model, or --artifact with --target tensorrt or --push")
    if args.artifact is not None and args.target != "tensorrt" and args.push is None:
        raise OptionError(
            f"--artifact: goes with --target tensorrt or --push; got --target {args.target}"
        )
    if args.onnx_only and args.adopt is not None:
        raise OptionError("--onnx-only and --adopt exclude each other: one is before the other")
    if args.model is not None and args.output is None:
        raise OptionError("--output: missing; give the folder of the artifact")
    if args.target == "tensorrt" and not args.onnx_only:
        try:
            find_tensorrt(builds=True, purpose="builds plans")
        except DependencyError as error:
            raise DependencyError(f"{error}; or give --onnx-only, and run trtexec there") from error


def engine_options(args: argparse.Namespace) -> EngineOptions:
    """Returns the options that the flags stand for.

    Raises:
        OptionError: A value is malformed.
    """
    return EngineOptions(
        max_length=args.max_length,
        block_length=args.block_length,
        batch=1 if args.batch is None else args.batch,
        logits=args.logits,
        version_compatible=args.version_compatible,
        stripped=args.strip_weights,
        capability=_capability(args.for_sm),
    )


def _capability(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    major, dot, minor = text.partition(".")
    if not (dot and major.isdecimal() and minor.isdecimal()):
        raise OptionError(f"--for-sm: got {text!r}; expected a compute capability such as 8.9")
    return int(major), int(minor)


def work_on_plan(folder: Path, args: argparse.Namespace) -> PlanReport | Path:
    """Does what the flags say to an artifact; returns a report, or with --onnx-only the commands.

    Raises:
        As `build_plan`.
    """
    options = engine_options(args)
    commands = write_commands(folder, read_manifest(folder), options)
    if args.onnx_only:
        return commands
    if args.adopt is not None:
        return adopt_plan(folder, args.adopt, options)
    return build_plan(folder, options, progress=not args.quiet)
