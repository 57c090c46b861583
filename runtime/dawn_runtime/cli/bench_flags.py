"""Flags of `dawn-bench`: what is timed, on what, and where results go."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dawn_runtime.bench.pages import check_section, read_page, written
from dawn_runtime.bench.plan import Rules, Sweep
from dawn_runtime.bench.record import Record
from dawn_runtime.bench.report import csv_text
from dawn_runtime.bench.statistics import FEWEST
from dawn_runtime.cli.common import Parser, count, key_values, place
from dawn_runtime.cli.engine_flags import add_engine_flags
from dawn_runtime.cli.places import check_apart, destination, given
from dawn_runtime.errors import OptionError
from dawn_runtime.files import Destination
from dawn_runtime.options import add_policy_flags, add_rule_flag, rules_help
from dawn_runtime.pictures import check_pictures

RANDOM_TOKENS: Final = 128
"""Of prompt and of answer, where prompts are random and nothing else is said."""

ITEMS: Final = 1
_ALL: Final = "all"

_EXAMPLES: Final = """\
examples:
  dawn-bench ARTIFACT                                        the artifact's rule, its caches
  dawn-bench ARTIFACT --input prompts.jsonl --policy dawn --policy threshold --output result.json
  dawn-bench FP32 --compare INT8 --cache none --cache dual   two artifacts, in pairs
  dawn-bench ARTIFACT --threads 1 --threads 2 --batch 1 --batch 4 --plot result.svg
  dawn-bench compare before.json after.json                  two results, measured at two times
  dawn-bench show result.json --csv result.csv               a result as table, CSV, page, picture
"""


def parser() -> Parser:
    """Returns the parser of the command."""
    made = Parser(
        "dawn-bench",
        "Time whole answers to real prompts, all cases in turn: every combination of the flags "
        "that may be repeated. Prints two tables and one line of JSON; with --json the line alone. "
        "dawn-bench compare and dawn-bench show read results that --output wrote.",
    )
    made.add_argument(
        "artifact", type=place, help="artifact folder, or ORG/NAME in the cache of the Hub"
    )
    _add_prompts(made)
    _add_cases(made)
    made.add_argument(
        "--compare",
        type=place,
        action="append",
        default=[],
        metavar="ARTIFACT",
        help="another artifact of the model, timed in turn with the first; may be repeated",
    )
    add_engine_flags(made, prefix_megabytes=0, sweeps=True)
    made.add_argument(
        "--repeat",
        type=count,
        default=FEWEST,
        metavar="N",
        help=f"turns; default: {FEWEST}, the fewest whose interval is one of 95 %%",
    )
    made.add_argument(
        "--warm-up",
        type=count,
        default=2,
        metavar="N",
        help="runs of the engine of each case before anything is timed; default: 2",
    )
    results = made.add_argument_group("results")
    results.add_argument(
        "--output", type=place, metavar="FILE.json", help="the result, for compare and show"
    )
    add_report_flags(results)
    made.epilog = f"{_EXAMPLES}\n{rules_help()}"
    return made


def _add_prompts(made: Parser) -> None:
    group = made.add_argument_group("prompts", "eight short ones that are shipped, unless said")
    source = group.add_mutually_exclusive_group()
    source.add_argument(
        "--input",
        type=place,
        metavar="FILE.jsonl",
        help='one object with "prompt", "messages" or "input_ids" on each line',
    )
    source.add_argument(
        "--tasks",
        nargs="?",
        const=_ALL,
        metavar="NAME,NAME",
        help="held-out items of the tasks of dawn-calibrate; all of them without a value",
    )
    source.add_argument(
        "--random",
        action="store_true",
        help="random tokens, every position decoded: for work that is the same whatever stands "
        "there, not for rules that adapt",
    )
    group.add_argument(
        "--items", type=count, metavar="N", help=f"of each of --tasks; default: {ITEMS}"
    )
    group.add_argument(
        "--prompt-tokens",
        type=count,
        action="append",
        metavar="N",
        help=f"of --random; may be repeated; default: {RANDOM_TOKENS}",
    )
    group.add_argument(
        "--new-tokens",
        type=count,
        action="append",
        metavar="N",
        help="most of an answer; may be repeated; default: the artifact's, or what has room; of "
        f"--random {RANDOM_TOKENS}",
    )


def _add_cases(made: Parser) -> None:
    group = made.add_argument_group("cases")
    add_policy_flags(
        group, "; may be repeated, without --set; default: the artifact's", action="append"
    )
    add_rule_flag(
        group,
        "cache",
        "; may be repeated; default: the artifact's own, none, and dual or causal",
        action="append",
    )
    add_rule_flag(group, "window")
    add_rule_flag(group, "guard", "; may be repeated, all of them together", action="append")
    group.add_argument(
        "--block-length",
        type=count,
        action="append",
        metavar="N",
        help="may be repeated; default: the artifact's",
    )
    group.add_argument(
        "--batch",
        type=count,
        action="append",
        metavar="N",
        help="prompts decoded together; may be repeated; default: 1",
    )


def add_report_flags(group: argparse._ArgumentGroup) -> None:
    """Adds where else a result goes.

    Args:
        group: Gets the flags.
    """
    group.add_argument("--csv", type=place, metavar="FILE.csv", help="a line for each case")
    group.add_argument(
        "--plot", type=place, metavar="FILE.png|svg", help="a picture; needs matplotlib"
    )
    group.add_argument(
        "--markdown",
        type=place,
        metavar="PAGE.md",
        help="a page whose section of this result, between <!-- dawn-bench: FILE.json --> and "
        "<!-- end of dawn-bench -->, is written anew",
    )


def check(args: argparse.Namespace) -> None:
    """Refuses flags that contradict each other or do nothing.

    Raises:
        OptionError: Flags do not go together.
    """
    conflicts = {
        "--set goes with a single --policy; time the others in runs of their own": args.set
        and len(args.policy or ()) > 1,
        "--prompt-tokens is of --random; prompts that are read are as long as they are": (
            args.prompt_tokens is not None and not args.random
        ),
        "--items needs --tasks": args.items is not None and args.tasks is None,
        "--markdown needs --output, the file whose section it is": args.markdown is not None
        and args.output is None,
    }
    for message, holds in conflicts.items():
        if holds:
            raise OptionError(message)


def sweep(args: argparse.Namespace) -> Sweep:
    """Returns what the flags vary; a value that is given twice counts once."""
    usual = (RANDOM_TOKENS if args.random else None,)
    return Sweep(
        policies=_once(args.policy, ()),
        caches=_once(args.cache, ()),
        threads=_once(args.threads, (None,)),
        batches=_once(args.batch, (1,)),
        block_lengths=_once(args.block_length, (None,)),
        prompt_tokens=_once(args.prompt_tokens, usual),
        new_tokens=_once(args.new_tokens, usual),
    )


def rules(args: argparse.Namespace) -> Rules:
    """Returns what all cases have in common."""
    guards = None if args.guard is None else tuple(args.guard)
    return Rules(key_values(args.set), args.window, guards)


def task_names(args: argparse.Namespace) -> list[str] | None:
    """Returns the tasks that are named; None is all of them."""
    return None if args.tasks == _ALL else args.tasks.split(",")


def _once(values: list[object] | None, usual: tuple[object, ...]) -> tuple:  # type: ignore[type-arg]
    return usual if values is None else tuple(dict.fromkeys(values))


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where a result goes beside standard output, settled before any work.

    Attributes:
        csv: A line for each case.
        plot: A picture.
        markdown: A page with a section of the result, and its text as it was.
        result: File of the result, whose section that is.
    """

    csv: Destination | None
    plot: Path | None
    markdown: tuple[Path, str] | None
    result: Path | None

    @classmethod
    def of(cls, args: argparse.Namespace, result: Path | None, read: list[Path]) -> "Outputs":
        """Settles the flags of `add_report_flags`.

        Args:
            args: Parsed arguments.
            result: File of the result.
            read: Files that are read.

        Raises:
            OptionError: A file cannot be put there, or is another one that is named; the picture
                is neither PNG nor SVG; the page has no section of the result.
            DependencyError: matplotlib is not installed.
        """
        named = [("--csv", args.csv), ("--plot", args.plot), ("--markdown", args.markdown)]
        own = getattr(args, "output", None)
        inputs = {f"the input {number}": path for number, path in enumerate(read, start=1)}
        check_apart(given([("--output", own), *named]), inputs)
        if args.plot is not None:
            if args.plot.suffix.lower() not in (".png", ".svg"):
                raise OptionError(f"--plot {args.plot}: names a picture, FILE.png or FILE.svg")
            check_pictures()
        page = None
        if args.markdown is not None and result is not None:
            page = (args.markdown, read_page(args.markdown))
            check_section(page[1], args.markdown, result)
            destination(args.markdown, "--markdown")
        return cls(
            csv=None if args.csv is None else destination(args.csv, "--csv"),
            plot=None if args.plot is None else destination(args.plot, "--plot").path,
            markdown=page,
            result=result,
        )

    def write(self, record: Record) -> None:
        """Writes all of them.

        Raises:
            OSError: One cannot be written.
        """
        if self.csv is not None:
            self.csv.write(csv_text(record))
        if self.plot is not None:
            from dawn_runtime.bench.drawing import draw

            draw(record, self.plot)
        if self.markdown is not None and self.result is not None:
            page, text = self.markdown
            Destination.of(page).write(written(text, page, self.result, record))
