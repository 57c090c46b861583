"""Flags that several sub-commands share."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dawn_calibration.prompts import Question, questions_of_file, questions_of_tasks
from dawn_calibration.tasks import TASKS, Split
from dawn_runtime.cli.common import Parser, count
from dawn_runtime.errors import OptionError

_ALL = "all"


def add_data_flags(parser: Parser, *, required: bool = True) -> None:
    """Adds the flags that say which prompts are decoded."""
    group = parser.add_argument_group("prompts")
    source = group.add_mutually_exclusive_group(required=required)
    source.add_argument(
        "--data",
        type=Path,
        metavar="FILE.jsonl",
        help='one object with "prompt", "messages" or "input_ids" on each line',
    )
    source.add_argument(
        "--tasks",
        nargs="?",
        const=_ALL,
        metavar="NAME,NAME",
        help=f"tasks that the small models know, all without a value: {', '.join(TASKS)}",
    )
    group.add_argument(
        "--items", type=count, default=8, metavar="N", help="of each task; default: %(default)s"
    )
    group.add_argument("--seed", type=_seed, default=0, metavar="N", help="default: %(default)s")


def questions(args: argparse.Namespace, split: Split) -> list[Question]:
    """Returns the prompts that the flags name.

    Args:
        args: With the flags of `add_data_flags`.
        split: Side of the items of tasks.

    Raises:
        PromptError: The file cannot be read.
        OptionError: There is no such task.
    """
    if args.data is not None:
        return questions_of_file(args.data)
    names = list(TASKS) if args.tasks == _ALL else args.tasks.split(",")
    return questions_of_tasks(names, args.items, split, args.seed)


def add_length_flags(parser: Parser) -> None:
    """Adds the flags that say how long answers and blocks are."""
    parser.add_argument(
        "--max-new-tokens", type=count, metavar="N", help="default: the model's own"
    )
    parser.add_argument("--block-length", type=count, metavar="N", help="default: the model's own")


def check_folder(path: Path, flag: str) -> None:
    """Refuses a place for a file whose folder does not exist.

    Raises:
        OptionError: There is no such folder.
    """
    if not path.parent.is_dir():
        raise OptionError(f"{flag} {path}: the folder does not exist; create it first")


def note(message: str, args: argparse.Namespace) -> None:
    """Prints a line on standard error unless --quiet."""
    if not args.quiet:
        print(f"dawn-calibrate: {message}", file=sys.stderr)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number of at least 0")
    return int(text)
