"""`python -m dawn_runtime.cli.build_operators`: the INT8 operator of our own, for this machine."""

import argparse
import ctypes
from collections.abc import Sequence
from pathlib import Path

from dawn_runtime.cli.common import Parser, print_json, run_command
from dawn_runtime.engine.ort.operators.build import build_library


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return run_command(_parser(), _work, argv)


def _parser() -> Parser:
    parser = Parser(
        "python -m dawn_runtime.cli.build_operators",
        "Compile the operators for INT8 on the CPU; engines take them from then on.",
    )
    parser.add_argument(
        "--compiler", metavar="COMMAND", help="of C++17; default: CXX, g++, clang++"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="of the library, for a wheel; default: where engines of this machine look for it",
    )
    return parser


def _work(args: argparse.Namespace) -> None:
    path = build_library(args.compiler, args.output)
    kernel = ctypes.CDLL(str(path)).dawn_kernel
    kernel.restype = ctypes.c_char_p
    name = kernel().decode()
    if args.json:
        print_json({"library": str(path), "kernel": name})
    else:
        print(f"{path}: {name}")


if __name__ == "__main__":
    raise SystemExit(main())
