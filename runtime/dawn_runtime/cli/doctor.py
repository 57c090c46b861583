"""`dawn-doctor`: whether this machine, and an artifact on it, will run."""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dawn_runtime._version import __version__
from dawn_runtime.cli.common import MAX_COUNT, Parser, place, print_json, run_command
from dawn_runtime.doctor import Finding, examine, table
from dawn_runtime.errors import DawnError, OptionError
from dawn_runtime.wording import counted


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status: 1 if there is a problem."""
    return run_command(_parser(), _work, argv)


def _parser() -> Parser:
    parser = Parser(
        "dawn-doctor",
        "Look at Python, packages, engines, GPU and memory of this machine, and at an artifact.",
    )
    parser.add_argument(
        "artifact", type=place, nargs="?", help="artifact folder; every file of it is hashed"
    )
    parser.add_argument(
        "--length", type=int, metavar="N", help="tokens of a row for the memory; default: 1024"
    )
    parser.add_argument(
        "--batch", type=int, metavar="N", help="rows decoded together for the memory; default: 1"
    )
    return parser


def _work(args: argparse.Namespace) -> None:
    _check_flags(args)
    findings = examine(args.artifact, args.length, 1 if args.batch is None else args.batch)
    shown = [f for f in findings if f.level != "ok"] if args.quiet else findings
    if args.json:
        print_json(_document(findings, args.artifact))
    elif shown:
        print(table(shown))
    problems = [finding for finding in findings if finding.level == "problem"]
    if problems:
        topics = ", ".join(dict.fromkeys(finding.topic for finding in problems))
        number = counted(len(problems), "problem")
        raise DawnError(f"{number} found ({topics}); the report says what to do")


def _check_flags(args: argparse.Namespace) -> None:
    for name in ("length", "batch"):
        value = getattr(args, name)
        if value is None:
            continue
        if args.artifact is None:
            raise OptionError(f"--{name} needs ARTIFACT; see dawn-doctor --help")
        if value < 1:
            raise OptionError(f"--{name} is {value}; expected an integer >= 1")
        if value > MAX_COUNT:
            raise OptionError(f"--{name} is {value}; expected an integer <= {MAX_COUNT}")


def _document(findings: Sequence[Finding], artifact: Path | None) -> dict[str, object]:
    counts = Counter(finding.level for finding in findings)
    return {
        "dawn_edge_version": __version__,
        "artifact": None if artifact is None else str(artifact),
        "problems": counts["problem"],
        "notes": counts["note"],
        "findings": [asdict(finding) for finding in findings],
    }
