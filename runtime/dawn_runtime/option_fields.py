"""Options that say once, at their field, what they are: default, bounds, choices and help.

    @POLICIES.register
    @dataclass(frozen=True, slots=True)
    class Threshold(Policy):
        name: ClassVar[str] = "threshold"

        threshold: float = option(0.9, 0, 1, "least confidence")

Checks, `--help` and whoever else lists options read them from there.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Final

import numpy as np

from dawn_runtime.checks import check_choice, check_flag, check_integer, check_number
from dawn_runtime.errors import OptionError

_KEY: Final = "dawn_runtime.option"

MOST_OF_SEVERAL: Final = 1024
"""Most integers in an option that takes several."""


@dataclass(frozen=True, slots=True)
class Option:
    """What one option may be.

    Attributes:
        name: Of the field.
        default: Its value unless given; None stands for what the help says.
        kind: `float`, `int`, `bool` or `str`.
        minimum: Least number, or the name of an earlier field that holds it; None is no bound.
        maximum: The same for the greatest.
        help: What it is, in a few words.
        choices: Texts that it may be; beside numbers, if the kind is one of numbers.
        ceiling: Of an integer without a maximum, what can still be worked with; None is the usual
            `checks.LARGEST_INTEGER`.
        unit: What a number is called where texts may stand for it.
        several: Of an integer, whether a list of them may be given; the value is then a tuple,
            ascending and without repeats, of one integer too.
    """

    name: str
    default: Any
    kind: type
    minimum: float | str | None
    maximum: float | str | None
    help: str
    choices: tuple[str, ...] = ()
    ceiling: int | None = None
    unit: str = "number"
    several: bool = False

    def check(self, owner: str, value: object, others: object = None) -> Any:
        """Returns a value as a Python object of the option's kind; None only if it is the default.

        Args:
            owner: Who has the option, such as `policy 'dawn'`.
            value: What was given.
            others: Holds the fields that bounds name.

        Raises:
            OptionError: It is of another kind, out of bounds or none of the choices.
        """
        if value is None and self.default is None:
            return None
        if self.several:
            return self._integers(owner, value)
        if self.choices and (isinstance(value, str) and value in self.choices):
            return value
        if self.kind is str:
            return check_choice(owner, self.name, value, self.choices)
        if self.kind is bool:
            return check_flag(owner, self.name, value)
        if self.choices:
            owner = f"{owner}: use {', '.join(self.choices)} or a {self.unit}"
        low, high = self._bound(self.minimum, others), self._bound(self.maximum, others)
        if self.kind is int:
            return self._integer(owner, value, low, high)
        return check_number(owner, self.name, value, minimum=low, maximum=high)

    def _integer(self, owner: str, value: object, low: Any, high: Any) -> int:
        """Checks an integer; a ceiling is told only to those who exceed it."""
        given = {} if self.ceiling is None else {"ceiling": self.ceiling}
        return check_integer(owner, self.name, value, minimum=low, maximum=high, **given)

    def _integers(self, owner: str, value: object) -> tuple[int, ...] | None:
        """Checks one integer or a list of them; an empty list is as if nothing were given."""
        items = value if isinstance(value, (list, tuple, np.ndarray)) else [value]
        if len(items) > MOST_OF_SEVERAL:
            raise OptionError(
                f"{owner}: {self.name} has {len(items)} entries; expected at most {MOST_OF_SEVERAL}"
            )
        found = {self._integer(owner, one, self.minimum, self.maximum) for one in items}
        return tuple(sorted(found)) or None

    @staticmethod
    def _bound(bound: float | str | None, others: object) -> Any:
        return getattr(others, bound) if isinstance(bound, str) else bound

    def expected(self) -> str:
        """Returns what it may be, such as `0 to 1`, `>= 1` or `both, union`."""
        listed = ", ".join(self.choices)
        if self.kind is bool:
            return "true, false"
        if self.kind is str:
            return listed
        if self.maximum is not None:
            numbers = f"{in_words(self.minimum)} to {in_words(self.maximum)}"
        else:
            numbers = f">= {in_words(self.minimum)}"
        if self.several:
            numbers += ", or several"
        return f"{listed} or {numbers}" if listed else numbers

    def line(self) -> str:
        """Returns name, bounds, default and help in one line, as `--help` lists it."""
        default = "" if self.default is None else f"; default {in_words(self.default)}"
        return f"{self.name}  {self.help} ({self.expected()}{default})"


def in_words(value: object) -> str:
    """Returns a bound or a default as `--help` shows it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def option(
    default: Any,
    minimum: float | str | None = None,
    maximum: float | str | None = None,
    help: str = "",  # noqa: A002 - the word of argparse, for the same thing
    *,
    kind: type | None = None,
    choices: tuple[str, ...] = (),
    ceiling: int | None = None,
    unit: str = "number",
    several: bool = False,
) -> Any:
    """Declares a field of an `Options` dataclass; arguments as the attributes of `Option`.

    Args:
        default: Its value unless given.
        minimum: Least number, or name of an earlier field.
        maximum: Greatest number, or name of an earlier field; integers may have none.
        help: What it is.
        kind: None is that of the default.
        choices: Texts that it may be.
        ceiling: See `Option`.
        unit: See `Option`.
        several: See `Option`.
    """
    made = Option(
        "",
        default,
        kind or type(default),
        minimum,
        maximum,
        help,
        choices,
        ceiling,
        unit,
        several,
    )
    return field(default=default, metadata={_KEY: made})


def options_of(cls: type) -> tuple[Option, ...]:
    """Returns the options of a dataclass in the order of its fields.

    Args:
        cls: The class; fields that were not declared by `option` are left out.
    """
    found = ((one.name, one.metadata.get(_KEY)) for one in fields(cls))
    return tuple(replace(it, name=name) for name, it in found if it is not None)


class Options:
    """Base of frozen dataclasses whose fields are declared by `option`; checks them when made.

    What spans several fields is checked in `check_together`. A `__post_init__` of one's own would
    take the place of the check of each field.

    Attributes:
        kind: What they are options of, such as `policy`.
    """

    __slots__ = ()

    kind: ClassVar[str] = "option"

    def __post_init__(self) -> None:
        owner = owner_of(type(self))
        for one in options_of(type(self)):
            value = one.check(owner, getattr(self, one.name), self)
            object.__setattr__(self, one.name, value)
        self.check_together()

    def check_together(self) -> None:
        """Checks what spans several fields; each is right by itself when this is called.

        Raises:
            OptionError: They do not go together.
        """


def owner_of(cls: type[Options]) -> str:
    """Returns how messages call a class of options: `policy 'dawn'`, or `sampling`."""
    name = getattr(cls, "name", None)
    return cls.kind if name is None else f"{cls.kind} {name!r}"
