"""Flags that several sub-commands share."""

from __future__ import annotations

import argparse
from typing import Final

from dawn_calibration.judges import TASKS_JUDGE, Judge, Program, judge_tasks
from dawn_calibration.prompts import (
    MOST_ITEMS,
    Question,
    questions_of_file,
    questions_of_tasks,
    repeated,
)
from dawn_calibration.tasks import TASKS, Split
from dawn_calibration.thresholds.tune import divide
from dawn_runtime import Decoder
from dawn_runtime.cli.common import Parser, count, place
from dawn_runtime.cli.places import check_apart, destination, given
from dawn_runtime.cli.standard import say
from dawn_runtime.errors import OptionError
from dawn_runtime.pictures import check_pictures
from dawn_runtime.wording import counted

_ALL: Final = "all"
_ITEMS: Final = 8
_SEED_DIGITS: Final = 18
HELD_OUT: Final = 0.5
"""Share of the prompts of a file that is not searched on."""
_FEW: Final = 8
"""Below this a single odd prompt weighs more than an eighth."""


def add_data_flags(parser: Parser, *, required: bool = True) -> None:
    """Adds the flags that say which prompts are decoded."""
    group = parser.add_argument_group("prompts")
    source = group.add_mutually_exclusive_group(required=required)
    source.add_argument(
        "--data",
        type=place,
        metavar="FILE.jsonl",
        help='one object with "prompt", "messages" or "input_ids" on each line',
    )
    source.add_argument(
        "--tasks",
        nargs="?",
        const=_ALL,
        metavar="NAME,NAME",
        help=f"of {', '.join(TASKS)}; all of them without a value",
    )
    group.add_argument(
        "--items",
        type=count,
        metavar="N",
        help=f"of each of --tasks, at most {MOST_ITEMS}; default: {_ITEMS}",
    )
    group.add_argument("--seed", type=_seed, metavar="N", help="default: 0")


def questions(args: argparse.Namespace, split: Split) -> list[Question]:
    """Returns the prompts that the flags name.

    Args:
        args: With the flags of `add_data_flags`.
        split: Side of the items of tasks.

    Raises:
        PromptError: The file cannot be read.
        OptionError: There is no such task, or a number of items goes with no task.
    """
    if args.data is not None:
        if args.items is not None:
            raise OptionError("--items: goes with --tasks; got --data, of which all lines are read")
        return questions_of_file(args.data)
    if args.items is not None and args.items > MOST_ITEMS:
        raise OptionError(f"--items is {args.items}; expected at most {MOST_ITEMS} of each task")
    names = list(TASKS) if args.tasks == _ALL else args.tasks.split(",")
    found = questions_of_tasks(names, args.items or _ITEMS, split, args.seed or 0)
    for line in repeated(found):
        note(f"warning: {split} side: {line}", args)
    return found


def prompts_of_both_sides(args: argparse.Namespace) -> tuple[list[Question], list[Question]]:
    """Returns prompts to search on, and others to measure on.

    Args:
        args: With the flags of `add_data_flags`, and `held_out`, a share of --data.

    Raises:
        OptionError: A share of tasks, which have items held out, or one that leaves too few.
        PromptError: The file cannot be read.
    """
    if args.data is None:
        if args.held_out is not None:
            raise OptionError(
                "--held-out: goes with --data; got --tasks, which have items held out"
            )
        return questions(args, "train"), questions(args, "heldout")
    share = HELD_OUT if args.held_out is None else args.held_out
    return divide(questions(args, "train"), share, args.seed or 0)


def check_share(value: float | None, flag: str) -> None:
    """Refuses a number that is no share; None is not given.

    Raises:
        OptionError: It is none.
    """
    if value is not None and not 0 <= value <= 1:
        raise OptionError(f"{flag} is {value}; expected a share from 0 to 1")


def add_max_new_tokens(parser: Parser) -> None:
    """Adds the flag that says how long answers are."""
    parser.add_argument(
        "--max-new-tokens", type=count, metavar="N", help="default: the model's own"
    )


def add_length_flags(parser: Parser) -> None:
    """Adds the flags that say how long answers and blocks are."""
    add_max_new_tokens(parser)
    parser.add_argument("--block-length", type=count, metavar="N", help="default: the model's own")


def add_checker_flag(parser: Parser, *, absent: str) -> None:
    """Adds the flag that says who judges answers.

    Args:
        parser: Of the command.
        absent: What happens without it, for the help.
    """
    parser.add_argument(
        "--checker",
        metavar="tasks|COMMAND",
        help="who says which answers are right: the checkers of --tasks, or for --data a program "
        "that reads a JSON object a line and prints true or false for each; " + absent,
    )


def checker(args: argparse.Namespace) -> Judge | None:
    """Returns who judges answers, None if the flag is not given.

    Args:
        args: With the flags of `add_data_flags` and `add_checker_flag`.

    Raises:
        OptionError: Prompts and checker do not go together, or there is no such program.
    """
    if args.checker is None:
        return None
    if (args.checker == TASKS_JUDGE) != (args.data is None):
        raise OptionError(
            f"--checker {TASKS_JUDGE} judges the answers of --tasks, a command those of --data; "
            f"got {args.checker!r} for {'--tasks' if args.data is None else '--data'}"
        )
    return judge_tasks if args.data is None else Program.parse(args.checker)


def check_picture(args: argparse.Namespace) -> None:
    """Refuses a --picture that cannot be drawn, or not where it shall be.

    Raises:
        OptionError: No file can be put there, or it is one that is read.
        DependencyError: matplotlib is not installed.
    """
    if args.picture is None:
        return
    args.picture = destination(args.picture, "--picture").path
    check_apart({"--picture": args.picture}, given([("--data", args.data)]))
    check_pictures()


def warn_of_few(prompts: int, risk: str, args: argparse.Namespace) -> None:
    """Prints a line on standard error if there are fewer prompts than results can be trusted on.

    Args:
        prompts: How many there are.
        risk: What may come of it, up to the number of prompts.
        args: With --quiet, which prints no warnings.
    """
    if prompts < _FEW:
        note(f"warning: {risk} {counted(prompts, 'prompt')}; give {_FEW} or more", args)


def note(message: str, args: argparse.Namespace) -> None:
    """Prints a line on standard error unless --quiet."""
    if not args.quiet:
        say(f"dawn-calibrate: {message}")


def note_threads(decoder: Decoder, args: argparse.Namespace) -> None:
    """Prints how many threads an artifact runs on, and why, unless --quiet."""
    if decoder.threads is not None:
        note(decoder.threads.line(), args)


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= _SEED_DIGITS):
        raise argparse.ArgumentTypeError(
            f"got {text!r:.40}, expected a number of at least 0 and {_SEED_DIGITS} digits"
        )
    return int(text)
