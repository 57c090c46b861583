"""Checks of option values, with messages that say what was got and what was expected."""

import math
import os
import reprlib
from pathlib import Path
from typing import Final, TypeGuard

import numpy as np

from dawn_runtime.errors import OptionError

LARGEST_INTEGER = 2**31 - 1
"""What an option may be at most unless it says otherwise: numbers end up in native code and in
arrays, where larger ones are errors of their own kind or take all memory."""

_NUMBERS = (float, np.floating)
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


_LONGEST_SHOWN: Final = 160
"""Characters of a value in a message; what is nested shortens each level, not the whole."""


def shown(value: object) -> str:
    """Returns a value of any kind as one short line, for messages."""
    try:
        text = _SHORT.repr(value)
    except Exception:  # more digits than Python prints, or a `__repr__` that fails
        text = f"a value of type {type(value).__name__}"
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_SHOWN else f"{line[: _LONGEST_SHOWN - 3]}..."


def is_integer(value: object) -> TypeGuard[int]:
    """Tells integers of Python and NumPy from everything else, truth values and times included."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.timedelta64))


def check_number(
    owner: str, name: str, value: object, *, minimum: float = 0.0, maximum: float = 1.0
) -> float:
    """Returns a number with minimum <= value <= maximum as a Python float; NaN fails both.

    A Python float compares with a float32 array in float32; a NumPy number would not.

    Args:
        owner: Who has the option, for the message, such as `policy 'dawn'`.
        name: Name of the option.
        value: What was given.
        minimum: Smallest value allowed.
        maximum: Largest value allowed.

    Raises:
        OptionError: The value is not a number or out of range.
    """
    number = _as_float(value)
    if not minimum <= number <= maximum:
        raise OptionError(
            f"{owner}: {name} is {shown(value)}; expected a number from {minimum:g} to {maximum:g}"
        )
    return number


def _as_float(value: object) -> float:
    """Returns a number as a float, infinite if it is larger than any, and NaN for all else."""
    if not isinstance(value, _NUMBERS) and not is_integer(value):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def check_integer(
    owner: str,
    name: str,
    value: object,
    *,
    minimum: int,
    maximum: int | None = None,
    ceiling: int = LARGEST_INTEGER,
) -> int:
    """Returns an integer within bounds as a Python int.

    Args:
        owner: As for `check_number`.
        name: Name of the option.
        value: What was given.
        minimum: Smallest value allowed.
        maximum: Largest value allowed.
        ceiling: Without a maximum, the largest value that can be worked with; only a value above
            it hears of it.

    Raises:
        OptionError: The value is not an integer or out of range.
    """
    most = ceiling if maximum is None else maximum
    number = int(value) if is_integer(value) else None
    if number is not None and minimum <= number <= most:
        return number
    above = number is not None and number > most
    expected = f"from {minimum} to {most}" if above or maximum is not None else f">= {minimum}"
    raise OptionError(f"{owner}: {name} is {shown(value)}; expected an integer {expected}")


def check_flag(owner: str, name: str, value: object) -> bool:
    """Returns a truth value as a Python bool; arguments as for `check_number`.

    Raises:
        OptionError: The value is neither True nor False: 0 and "false" are not.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise OptionError(f"{owner}: {name} is {shown(value)}; expected True or False")
    return bool(value)


def check_kind(owner: str, name: str, value: object, kind: type, expected: str) -> None:
    """Refuses what is no object of a class; arguments as for `check_number`.

    Args:
        owner: As for `check_number`.
        name: Name of the option.
        value: What was given.
        kind: The class.
        expected: What it is called in the message.

    Raises:
        OptionError: The value is something else.
    """
    if not isinstance(value, kind):
        raise OptionError(f"{owner}: {name} is {shown(value)}; expected {expected}")


def check_choice(owner: str, name: str, value: object, choices: tuple[str, ...]) -> str:
    """Returns one of the choices and refuses all else; arguments as for `check_number`.

    Raises:
        OptionError: The value is not among the choices.
    """
    if not isinstance(value, str) or value not in choices:
        raise OptionError(f"{owner}: {name} is {shown(value)}; use one of {', '.join(choices)}")
    return value


def check_path(owner: str, name: str, value: object) -> Path:
    """Returns a path given as a text or as any object for paths; arguments as for `check_number`.

    Raises:
        OptionError: The value is no path. The empty text, which a variable without a value leaves,
            is none: to `Path` it is the working folder.
    """
    try:
        text = os.fspath(value)  # type: ignore[call-overload]  # this is the check
    except TypeError:
        text = None
    if not isinstance(text, str) or not text or "\0" in text:
        raise OptionError(f"{owner}: {name} is {shown(value)}; expected a path")
    return Path(text)
