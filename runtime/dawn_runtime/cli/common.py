"""What every command has in common: flags, exit status and how an error looks.

Standard output carries results, standard error everything else. Exit status: 0 done, 1 failed,
2 wrong usage, 130 interrupted, 143 terminated. An error is one line; its traceback
is shown with `--debug` only.
"""

import argparse
import json
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO

from dawn_runtime._checks import LARGEST_INTEGER, shown
from dawn_runtime._version import __version__
from dawn_runtime.errors import DawnError, OptionError, PromptError
from dawn_runtime.registry import parse_option

DONE, FAILED, WRONG_USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143

_MOST_DIGITS = 100
"""Of a number, leading zeros included; Python refuses to read some thousand of them."""

_USAGE_ERRORS = (OptionError, PromptError)
_OWNERS = "(?:generate|sampling|limit|engine): "
"""Who has the options that are flags of their own."""


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which services and containers are stopped by; ends work as Ctrl-C does."""


class Parser(argparse.ArgumentParser):
    """An argument parser with the flags of every command and errors of one line.

    Args:
        prog: Name of the command.
        description: What it does, for `--help`.
    """

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)
        shared = self.add_argument_group("for every command")
        shared.add_argument(
            "--json", action="store_true", help="print one JSON document on standard output"
        )
        shared.add_argument(
            "--quiet", action="store_true", help="print nothing but results and errors"
        )
        shared.add_argument("--debug", action="store_true", help="show the traceback of an error")
        shared.add_argument("--version", action="version", version=f"%(prog)s {__version__}")

    def spelled(self, message: str) -> str:
        """Names options as the flags of this command that set them.

        In Python they are arguments, such as `max_new_tokens` of `generate`; what says so there
        says `--max-new-tokens` here. Words of plain English (`temperature`) are told from options
        by what stands before them: `sampling: temperature is ...`.

        Args:
            message: A message about an option.
        """
        for action in self._actions:
            flag = next((name for name in action.option_strings if name.startswith("--")), None)
            if flag is None:
                continue
            name = flag.removeprefix("--").removeprefix("no-").replace("-", "_")
            if "_" in name:
                message = re.sub(rf"\b{name}\b|\b{name.replace('_', ' ')}(?=:)", flag, message)
            message = re.sub(rf"^{_OWNERS}({flag}|{name})(?= is )", flag, message)
        return message

    def error(self, message: str) -> NoReturn:
        """Prints one line and exits with the status of wrong usage."""
        self.exit(WRONG_USAGE, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def run_command(
    parser: Parser,
    work: Callable[[argparse.Namespace], None],
    argv: Sequence[str] | None = None,
    *,
    errors: tuple[type[Exception], ...] = (),
) -> int:
    """Parses arguments, does the work and turns every outcome into an exit status.

    Args:
        parser: Parser of the command.
        work: Does the job; called with the parsed arguments.
        argv: Arguments without the name of the command; None takes those of the process.
        errors: Further classes, beside `DawnError` and `OSError`, whose message tells enough.

    Returns:
        0 done, 1 failed, 2 wrong usage, 130 interrupted, 143 terminated.
    """
    try:
        # Intermixed: an optional PROMPT may stand behind flags, as in `ARTIFACT --chat PROMPT`.
        args = parser.parse_intermixed_args(argv)
    except SystemExit as stop:  # --help, --version, or a usage error that is printed already
        return stop.code if isinstance(stop.code, int) else DONE
    expected: tuple[type[Exception], ...] = (DawnError, OSError, *errors)
    try:
        with _termination():
            work(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone; let the interpreter flush into nothing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except _Terminated:
        return _report(parser.prog, "terminated", TERMINATED, debug=False)
    except KeyboardInterrupt:
        return _report(parser.prog, "interrupted", INTERRUPTED, debug=False)
    except expected as error:
        status = WRONG_USAGE if isinstance(error, _USAGE_ERRORS) else FAILED
        message = parser.spelled(str(error)) if isinstance(error, OptionError) else str(error)
        return _report(parser.prog, f"error: {message}", status, debug=args.debug)
    except Exception as error:
        message = f"error: unexpected {type(error).__name__}: {error}; --debug shows where"
        return _report(parser.prog, message, FAILED, debug=args.debug)
    return DONE


@contextmanager
def _termination() -> Iterator[None]:
    """Lets SIGTERM unwind what is under way, so that nothing half written stays behind."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main one's
        yield
        return

    def stop(*_: object) -> NoReturn:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def key_value(text: str) -> tuple[str, Any]:
    """Splits KEY=VALUE of a `--set`; a value that is not JSON is a text.

    Raises:
        OptionError: There is no key, or no equals sign.
    """
    return parse_option(text, "--set")


def count(text: str) -> int:
    """Reads a number of at least 1, for `type=` of an argument."""
    number = int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else 0
    if not 1 <= number <= LARGEST_INTEGER:
        raise argparse.ArgumentTypeError(
            f"got {shown(text)}, expected a number of at least 1 and at most {LARGEST_INTEGER}"
        )
    return number


def print_json(document: Any) -> None:
    """Prints one JSON document on one line of standard output."""
    print(json.dumps(document, ensure_ascii=False))


@contextmanager
def atomic_text(path: Path) -> Iterator[TextIO]:
    """Opens a text file that appears under its name complete, or not at all.

    Args:
        path: Where the file shall be; its folder must exist.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _report(prog: str, message: str, status: int, *, debug: bool) -> int:
    """Prints the traceback if wanted, then the message as one line."""
    if debug:
        traceback.print_exc()
    print(f"{prog}: {' '.join(message.split())}", file=sys.stderr)
    return status
