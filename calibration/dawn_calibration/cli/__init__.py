"""`dawn-calibrate`: ranges for integers, rules for decoding, and a look at what they cost."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from dawn_calibration.cli import compare, default, ranges, thresholds
from dawn_runtime.cli.common import Parser, run_command

COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "ranges": ranges.main,
    "thresholds": thresholds.main,
    "default": default.main,
    "compare": compare.main,
}
"""Sub-command -> what runs it; each has flags of its own."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given and given[0] in COMMANDS:
        return COMMANDS[given[0]](given[1:])
    return run_command(_parser(), lambda args: None, given)


def _parser() -> Parser:
    parser = Parser(
        "dawn-calibrate",
        "Fit integers and decoding thresholds to a model along real denoising trajectories. "
        "dawn-calibrate COMMAND --help shows the flags of a command.",
    )
    parser.add_argument(
        "command", choices=tuple(COMMANDS), metavar="COMMAND", help="|".join(COMMANDS)
    )
    return parser
