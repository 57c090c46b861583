"""`dawn-calibrate ranges`: activation ranges and smoothing, for static INT8."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dawn_calibration.cli.flags import (
    add_data_flags,
    add_length_flags,
    note,
    questions,
    warn_of_few,
)
from dawn_calibration.cli.range_files import RangeFiles
from dawn_calibration.ranges.clipping import CLIPS, Clip
from dawn_calibration.ranges.options import DTYPES, SEEN, RangeOptions
from dawn_calibration.ranges.strata import Strata
from dawn_export.progress import reporting, stage
from dawn_export.sources.find import find_source
from dawn_export.told import add_told_flags, told_of
from dawn_runtime.cli.common import Parser, count, place, print_json, run_command, threads
from dawn_runtime.errors import OptionError
from dawn_runtime.files import write_whole
from dawn_runtime.native import importing
from dawn_runtime.pictures import check_pictures
from dawn_runtime.policies import POLICIES
from dawn_runtime.threads import passive_openmp
from dawn_runtime.wording import counted

if TYPE_CHECKING:
    from dawn_calibration.ranges.calibrate import Found  # loads torch


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status."""
    return run_command(parser(), _work, argv)


def parser() -> Parser:
    """Returns the parser of the command."""
    made = Parser(
        "dawn-calibrate ranges",
        "Record activations along decoding, smooth them, and choose ranges for static INT8. "
        "Writes calibration.json, a report (.md) and a picture (.png) beside it.",
    )
    made.add_argument(
        "--model", required=True, metavar="NAME|DIR|HUB-ID", help="checkpoint, as for dawn-export"
    )
    made.add_argument(
        "--output", type=place, required=True, metavar="FILE", help="such as calibration.json"
    )
    made.add_argument("--force", action="store_true", help="replace a calibration that is there")
    add_told_flags(made)
    add_data_flags(made)
    _add_method(made)
    _add_running(made)
    return made


def _add_method(parser: Parser) -> None:
    method = parser.add_argument_group("method")
    method.add_argument(
        "--clip", choices=CLIPS, default="max", help="how ranges are chosen; default: %(default)s"
    )
    method.add_argument(
        "--percentile",
        type=float,
        metavar="P",
        help=f"with --clip percentile; default: {Clip().percentile}",
    )
    method.add_argument(
        "--smooth",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="fold SmoothQuant into the norms, the strength searched for each; default: on",
    )
    method.add_argument(
        "--strata",
        choices=SEEN,
        default="decoding",
        help="decoding: every step, by mask ratio; unmasked: finished answers alone, to compare "
        "with; default: %(default)s",
    )
    method.add_argument(
        "--bins", type=count, default=5, metavar="N", help="of the mask ratio; default: %(default)s"
    )
    method.add_argument(
        "--samples",
        type=count,
        metavar="N",
        help=f"rows of each stratum for the search of strengths; default: {RangeOptions().samples}",
    )
    method.add_argument(
        "--policy",
        choices=POLICIES.names(),
        default="one-per-step",
        metavar="NAME",
        help="rule that decodes; default: %(default)s, which meets every mask ratio",
    )
    add_length_flags(parser)


def _add_running(parser: Parser) -> None:
    running = parser.add_argument_group("running")
    running.add_argument("--device", default="cpu", help="of torch; default: %(default)s")
    running.add_argument(
        "--dtype", choices=DTYPES, default="float32", help="of the weights; default: %(default)s"
    )
    running.add_argument(
        "--threads", type=threads, metavar="N", help="CPU threads; default: as many as help"
    )
    running.add_argument(
        "--state",
        type=place,
        metavar="FILE",
        help="where an interrupted run is kept to be taken up; default: OUTPUT.state",
    )
    running.add_argument(
        "--save-every", type=count, default=8, metavar="N", help="prompts; default: %(default)s"
    )


def _work(args: argparse.Namespace) -> None:
    files = RangeFiles.of(args.output, args.state)
    files.check(args.data, force=args.force)
    options(args)
    check_pictures()
    started = time.perf_counter()
    with reporting(not args.quiet, "dawn-calibrate"):
        found = _find(args, files.state)
        with stage("writing", f"drawing and writing {files.output}"):
            _write(found, options(args).strata, files)
    files.state.unlink(missing_ok=True)
    if found.resumed:
        note(f"took up an interrupted run of {counted(found.resumed, 'prompt')}", args)
    _print(found, time.perf_counter() - started, args)


def options(args: argparse.Namespace) -> RangeOptions:
    """Returns the options that the flags describe."""
    return RangeOptions(
        seen=args.strata,
        clip=_clip(args),
        smooth=args.smooth,
        strata=Strata(args.bins),
        policy=args.policy,
        max_new_tokens=args.max_new_tokens,
        block_length=args.block_length,
        samples=_samples(args),
        seed=args.seed or 0,
        dtype=args.dtype,
    )


def _samples(args: argparse.Namespace) -> int:
    if args.samples is None:
        return RangeOptions().samples
    if not args.smooth:
        raise OptionError("--samples: goes with --smooth, whose strengths are searched on them")
    return int(args.samples)


def _clip(args: argparse.Namespace) -> Clip:
    if args.percentile is None:
        return Clip(args.clip)
    if args.clip != "percentile":
        raise OptionError(f"--percentile: goes with --clip percentile; got --clip {args.clip}")
    return Clip(args.clip, args.percentile)


def _find(args: argparse.Namespace, state: Path) -> Found:
    """Runs the calibration; torch is loaded here."""
    chosen, prompts = options(args), questions(args, "train")
    warn_of_few(len(prompts), "ranges may be too narrow, recorded on", args)
    source = find_source(args.model).told_by(told_of(args))
    with (
        stage("starting", "loading torch"),
        passive_openmp(),
        importing("ranges need", "torch", "pip install 'dawn-edge[calibrate]'"),
    ):
        from dawn_calibration.checkpoints import open_checkpoint
        from dawn_calibration.ranges.calibrate import Calibrator, Storage
    checkpoint = open_checkpoint(source.fetch(progress=not args.quiet), source.told)
    return Calibrator(
        checkpoint,
        prompts,
        chosen,
        Storage(state, args.save_every),
        device=args.device,
        threads=args.threads,
    ).run()


def _write(found: Found, strata: Strata, files: RangeFiles) -> None:
    """Writes report and picture, and calibration.json last: once it is there, all is."""
    from dawn_calibration.ranges.report import draw_ranges, report_text

    draw_ranges(found, strata, files.picture)
    for path, text in (
        (files.report, report_text(found, strata)),
        (files.output, found.calibration.to_json()),
    ):
        write_whole(path, text)


def _print(found: Found, seconds: float, args: argparse.Namespace) -> None:
    settings, smoothed = found.calibration.settings, len(found.calibration.smoothing)
    if args.json:
        print_json(
            {
                "output": str(args.output),
                "settings": dict(settings),
                "ranges": dict(found.calibration.ranges),
                "seconds": seconds,
            }
        )
        return
    print(
        f"{counted(int(settings['prompts']), 'prompt')}, "
        f"{counted(int(settings['forwards']), 'forward')}, "
        f"{counted(int(found.statistics.rows.sum()), 'row')}, {counted(smoothed, 'norm')} smoothed "
        f"-> {args.output} ({seconds:.1f} s)"
    )
