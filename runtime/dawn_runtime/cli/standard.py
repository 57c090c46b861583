"""Standard streams, any of which may be closed, full, gone or of a narrow encoding.

Services and cron start programs without some of them. A descriptor that is closed goes to the next
file that is opened, which then gets what was meant for the stream, so the gaps are closed first.
"""

import io
import os
import sys
from contextlib import suppress
from typing import Any, Final, TextIO

from dawn_runtime._json import is_unicode
from dawn_runtime.errors import DawnError, PromptError
from dawn_runtime.files import reason_of

_LAST: Final = 2
"""Highest number of a standard stream."""

MAX_INPUT: Final = 64 * 2**20
"""Most characters of standard input that are read as one prompt."""


def prepare_streams() -> None:
    """Puts every standard stream into a state in which nothing is lost or mixed up.

    What an encoding lacks is written as an escape; what is closed is replaced by nothing.

    Raises:
        DawnError: Standard output is closed, so that no result could be given.
    """
    _fill_gaps()
    if sys.stderr is None:  # print() would take standard output in its place
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - it stays open
    if sys.stdout is None:
        raise DawnError(
            "standard output is closed; leave it open, or send it to a file or /dev/null"
        )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fill_gaps() -> None:
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _LAST:
        os.set_inheritable(descriptor, True)  # the lowest number that is free is taken
    os.close(descriptor)


def takes_unicode(stream: TextIO) -> bool:
    """Tells whether a stream can show any character, so that JSON need not be ASCII."""
    return (getattr(stream, "encoding", None) or "").lower().replace("-", "") in ("utf8", "")


def is_terminal(stream: Any) -> bool:
    """Tells whether somebody sits at a stream; nobody does where it is closed."""
    return stream is not None and not stream.closed and stream.isatty()


def read_input() -> str:
    """Returns all of standard input, without the end of its last line.

    Raises:
        PromptError: It is closed, too long, or not text.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise PromptError("standard input is closed; give the prompt on the command line")
    return _checked(lambda: sys.stdin.read(MAX_INPUT + 1)).removesuffix("\n")


def read_line() -> str:
    """Returns the next line of standard input, empty at its end.

    Raises:
        PromptError: It is too long, or not text.
    """
    return _checked(lambda: sys.stdin.readline(MAX_INPUT + 1))


def _checked(read: Any) -> str:
    try:
        text: str = read()
    except UnicodeError as error:
        raise PromptError(f"standard input: not text ({error}); give UTF-8") from error
    except OSError as error:
        raise PromptError(f"standard input: cannot be read ({reason_of(error)})") from error
    if len(text) > MAX_INPUT:
        raise PromptError(f"standard input: has more than {MAX_INPUT} characters; give less")
    if not is_unicode(text):  # bytes that are not UTF-8, in a locale that lets them pass
        raise PromptError("standard input: not text in UTF-8; convert it, such as with iconv")
    return text


def say(message: str) -> None:
    """Prints a line on standard error, if that is still there."""
    with suppress(OSError, ValueError):
        print(message, file=sys.stderr, flush=True)


def settle() -> OSError | None:
    """Sends out what is printed; returns what went wrong with standard output, if anything.

    A stream that cannot be written to is turned into nothing, so that the interpreter does not
    fail on it once more when it ends.
    """
    _flush(sys.stderr)
    return _flush(sys.stdout)


def _flush(stream: TextIO) -> OSError | None:
    try:
        stream.flush()
    except OSError as error:
        _silence(stream)
        return error
    except ValueError:  # it was closed meanwhile
        pass
    return None


def _silence(stream: TextIO) -> None:
    with suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
