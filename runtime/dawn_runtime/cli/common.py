"""What every command has in common: flags, exit status and how an error looks.

Standard output carries results, standard error everything else. Exit status: 0 done, 1 failed,
2 wrong usage, 130 interrupted, 143 terminated; a second Ctrl-C ends at once. An error is one line;
its traceback is shown with `--debug` only.
"""

import argparse
import json
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from dawn_runtime._version import __version__
from dawn_runtime.cli.standard import prepare_streams, say, settle, takes_unicode
from dawn_runtime.engine.checks import MOST_THREADS
from dawn_runtime.errors import DawnError, OptionError, PromptError
from dawn_runtime.files import reason_of
from dawn_runtime.interruption import Terminated, interruptible
from dawn_runtime.registry import parse_option

DONE, FAILED, WRONG_USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143

MAX_COUNT: Final = 2**31 - 1

MOST_MEGABYTES: Final = 2**20
"""A tebibyte; more than any machine this is for has."""

_USAGE_ERRORS = (OptionError, PromptError)
_OWNERS = "(?:generate|sampling|limit|engine|serve): "
"""Who has the options that are flags of their own."""


class _Formatter(argparse.HelpFormatter):
    """Leaves a text of several lines, such as the list of rules, as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class _Completion(argparse.Action):
    """Prints the completion of a command and ends, as --version does."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**{**given, "choices": ("bash", "zsh"), "default": argparse.SUPPRESS})

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Prints; what knows the names of rules is loaded here alone."""
        from dawn_runtime.cli.completion import script

        parser._print_message(script(parser, values), sys.stdout)
        parser.exit()


def add_common_flags(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Adds the flags that `run_command` and every command look at; returns their group."""
    shared = parser.add_argument_group("for every command")
    shared.add_argument(
        "--json", action="store_true", help="print one JSON document on standard output"
    )
    shared.add_argument("--quiet", action="store_true", help="print nothing but results and errors")
    shared.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return shared


class Parser(argparse.ArgumentParser):
    """An argument parser with the flags of every command and errors of one line.

    Args:
        prog: Name of the command.
        description: What it does, for `--help`.
    """

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog=prog, description=description, allow_abbrev=False, formatter_class=_Formatter
        )
        shared = add_common_flags(self)
        shared.add_argument(
            "--completion",
            action=_Completion,
            help="print what completes the flags of this command in a shell, bash or zsh, and end",
        )
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

    def _print_message(self, message: str, file: Any = None) -> None:
        """Prints --help and --version; argparse's own hides that standard output is full."""
        if message and file is not sys.stderr:
            print(message, end="", file=file, flush=True)
        elif message:
            say(message.rstrip("\n"))

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Ends with a status, after a message on standard error where that can be written to."""
        if message:
            say(message.rstrip("\n"))
        raise SystemExit(status)

    def error(self, message: str) -> NoReturn:
        """Prints one line and exits with the status of wrong usage."""
        self.exit(WRONG_USAGE, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def run_command(
    parser: Parser,
    work: Callable[[argparse.Namespace], None],
    argv: Sequence[str] | argparse.Namespace | None = None,
    *,
    errors: tuple[type[Exception], ...] = (),
) -> int:
    """Parses arguments, does the work and turns every outcome into an exit status.

    Args:
        parser: Parser of the command.
        work: Does the job; called with the parsed arguments.
        argv: Arguments without the name of the command; None takes those of the process. Parsed
            ones are taken as they are.
        errors: Further classes, beside `DawnError` and `OSError`, whose message tells enough.

    Returns:
        0 done, 1 failed, 2 wrong usage, 130 interrupted, 143 terminated.
    """
    try:
        prepare_streams()
    except DawnError as error:
        say(f"{parser.prog}: error: {error}")
        return FAILED
    status = _outcome(parser, work, argv, errors)
    problem = settle()
    if problem is None:
        return status
    if status == DONE and not isinstance(problem, BrokenPipeError):
        say(f"{parser.prog}: error: standard output: {reason_of(problem)}")
    return status or FAILED


def _outcome(
    parser: Parser,
    work: Callable[[argparse.Namespace], None],
    argv: Sequence[str] | argparse.Namespace | None,
    errors: tuple[type[Exception], ...],
) -> int:
    """Parses and works; returns the status, what went wrong being told."""
    debug = False
    expected: tuple[type[Exception], ...] = (DawnError, OSError, *errors)
    try:
        # Intermixed: an optional PROMPT may stand behind flags, as in `ARTIFACT --chat PROMPT`.
        args = argv if isinstance(argv, argparse.Namespace) else parser.parse_intermixed_args(argv)
        debug = args.debug
        with interruptible():
            work(args)
    except SystemExit as stop:  # --help, --version, or a usage error that is printed already
        return stop.code if isinstance(stop.code, int) else DONE
    except BrokenPipeError:  # the reader has gone
        return FAILED
    except Terminated as stop:
        return _report(parser.prog, f"terminated {stop}", TERMINATED, debug=False)
    except KeyboardInterrupt as stop:  # which may say where, and what is kept
        return _report(parser.prog, f"interrupted {stop}", INTERRUPTED, debug=False)
    except expected as error:
        status = WRONG_USAGE if isinstance(error, _USAGE_ERRORS) else FAILED
        return _report(parser.prog, f"error: {_message(parser, error)}", status, debug=debug)
    except Exception as error:
        message = f"error: unexpected {type(error).__name__}: {error}; --debug shows where"
        return _report(parser.prog, message, FAILED, debug=debug)
    return DONE


def _message(parser: Parser, error: Exception) -> str:
    if isinstance(error, OptionError):
        return parser.spelled(str(error))
    if isinstance(error, OSError) and not isinstance(error, DawnError):
        return ": ".join(filter(None, [error.filename and str(error.filename), reason_of(error)]))
    return str(error)


def key_value(text: str) -> tuple[str, Any]:
    """Splits KEY=VALUE of a `--set`; a value that is not JSON is a text.

    Raises:
        OptionError: There is no key, or no equals sign.
    """
    return parse_option(text, "--set")


def key_values(texts: Sequence[str]) -> dict[str, Any]:
    """Splits all KEY=VALUE of a repeated `--set`.

    Raises:
        OptionError: As for `key_value`, or a key is given twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, value = key_value(text)
        if key in found:
            raise OptionError(f"--set {key} is given twice; give one value for it")
        found[key] = value
    return found


def count(text: str) -> int:
    """Reads a number from 1 to `MAX_COUNT`, for `type=` of an argument."""
    return _number(text, 1, MAX_COUNT)


def place(text: str) -> Path:
    """Reads a path, for `type=` of an argument.

    The empty text, which a variable without a value leaves, would be the working folder to `Path`.
    """
    if not text:
        raise argparse.ArgumentTypeError("got '', expected a path")
    return Path(text)


def threads(text: str) -> int:
    """Reads a number of threads, 1 to `MOST_THREADS`, for `type=` of an argument."""
    return _number(text, 1, MOST_THREADS)


def megabytes(text: str) -> int:
    """Reads a number of megabytes, 0 to `MOST_MEGABYTES`, for `type=` of an argument."""
    return _number(text, 0, MOST_MEGABYTES)


def _number(text: str, minimum: int, maximum: int) -> int:
    # Looked at before it is converted, which takes long for a text of many digits.
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(maximum))):
        found = None
    else:
        found = int(text)
    if found is None or not minimum <= found <= maximum:
        large = text.isdecimal() and text.strip("0") != ""
        bound = f"at most {maximum}" if large else f"at least {minimum}"
        raise argparse.ArgumentTypeError(f"got {text!r:.40}, expected a number of {bound}")
    return found


def print_json(document: Any) -> None:
    """Prints one JSON document on one line of standard output, in ASCII where that is needed.

    Whoever reads a pipe has it at once: it may be one of many, or what another program waits for.
    """
    print(json.dumps(document, ensure_ascii=not takes_unicode(sys.stdout)), flush=True)


def _report(prog: str, message: str, status: int, *, debug: bool) -> int:
    """Prints the traceback if wanted, then the message as one line."""
    if debug:
        traceback.print_exc()
    say(f"{prog}: {' '.join(message.split())}")
    return status
