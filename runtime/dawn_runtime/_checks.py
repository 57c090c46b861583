"""Checks of option values, with messages that say what was got and what was expected."""

import math

import numpy as np

from dawn_runtime.errors import OptionError

_INTEGERS = (int, np.integer)
_NUMBERS = (*_INTEGERS, float, np.floating)


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
    number = (
        float(value) if isinstance(value, _NUMBERS) and not isinstance(value, bool) else math.nan
    )
    if not minimum <= number <= maximum:
        raise OptionError(
            f"{owner}: {name} is {value!r}; expected a number from {minimum:g} to {maximum:g}"
        )
    return number


def check_integer(
    owner: str, name: str, value: object, *, minimum: int, maximum: int | None = None
) -> int:
    """Returns an integer within bounds as a Python int; arguments as for `check_number`.

    Raises:
        OptionError: The value is not an integer or out of range.
    """
    if isinstance(value, _INTEGERS) and not isinstance(value, bool):
        number = int(value)
        if minimum <= number and (maximum is None or number <= maximum):
            return number
    expected = f">= {minimum}" if maximum is None else f"from {minimum} to {maximum}"
    raise OptionError(f"{owner}: {name} is {value!r}; expected an integer {expected}")


def check_choice(owner: str, name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuses anything but one of the choices; arguments as for `check_number`.

    Raises:
        OptionError: The value is not among the choices.
    """
    if value not in choices:
        raise OptionError(f"{owner}: {name} is {value!r}; use one of {', '.join(choices)}")
