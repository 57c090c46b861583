"""`python -m dawn_runtime COMMAND ...`: the commands, where none is on the path."""

import importlib
import sys
from collections.abc import Sequence
from typing import Final

from dawn_runtime.cli.common import DONE, WRONG_USAGE
from dawn_runtime.cli.standard import say

COMMANDS: Final = {
    "generate": "decode answers (dawn-generate)",
    "bench": "measure speed (dawn-bench)",
    "doctor": "look at the machine and an artifact (dawn-doctor)",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that is named first and returns its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    name, rest = words[0] if words else "", words[1:]
    if name in ("-h", "--help"):
        print(_usage())
        return DONE
    if name not in COMMANDS:
        got = f"got {name!r}" if name else "got no command"
        say(f"dawn_runtime: error: {got}; expected one of {', '.join(COMMANDS)}")
        return WRONG_USAGE
    status: int = importlib.import_module(f"dawn_runtime.cli.{name}").main(rest)
    return status


def _usage() -> str:
    lines = [f"  {name:<9} {text}" for name, text in COMMANDS.items()]
    return "\n".join(["usage: python -m dawn_runtime COMMAND ...", "", *lines])


if __name__ == "__main__":
    sys.exit(main())
