"""Kinds of values in JSON that clients send: how each is checked, and how a schema describes it."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dawn_runtime.checks import is_integer, shown
from dawn_runtime.errors import DawnError, OptionError
from dawn_runtime.option_fields import MOST_OF_SEVERAL, Option

Schema = dict[str, Any]
"""A JSON Schema."""


class RequestError(DawnError, ValueError):
    """A request is not what it should be.

    Args:
        message: One line.
        param: Field that is wrong, such as `messages[0].role`; None if it is none of them.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Kind(ABC):
    """What a value may be."""

    expected: str = ""
    """What it is called in messages, after "expected"."""

    @abstractmethod
    def accepts(self, value: object) -> bool:
        """Tells whether a value is of this kind on the outside; `read` looks inside."""

    def read(self, where: str, value: object) -> Any:
        """Returns a value of this kind.

        Args:
            where: Its field.
            value: What JSON had there.

        Raises:
            RequestError: It is none.
        """
        if not self.accepts(value):
            raise RequestError(f"{where} is {shown(value)}; expected {self.expected}", where)
        return value

    @abstractmethod
    def schema(self) -> Schema:
        """Describes the kind."""


@dataclass(frozen=True)
class Text(Kind):
    """A text.

    Attributes:
        least: Fewest characters.
        most: Most characters; None is no bound of its own.
        choices: What it may be; empty is anything.
    """

    least: int = 0
    most: int | None = None
    choices: tuple[str, ...] = ()

    @property
    def expected(self) -> str:  # type: ignore[override]  # read-only here
        """As in `Kind`."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        most = "" if self.most is None else f" of at most {self.most} characters"
        return f"a text{most}" if not self.least else f"a text{most} that is not empty"

    def accepts(self, value: object) -> bool:
        """As in `Kind`."""
        if not isinstance(value, str) or len(value) < self.least:
            return False
        return (self.most is None or len(value) <= self.most) and (
            not self.choices or value in self.choices
        )

    def schema(self) -> Schema:
        """As in `Kind`."""
        found: Schema = {"type": "string"}
        found |= {"enum": list(self.choices)} if self.choices else {}
        found |= {"minLength": self.least} if self.least else {}
        return found | ({"maxLength": self.most} if self.most is not None else {})


@dataclass(frozen=True)
class Rule(Text):
    """One of some rules by its name, perhaps with options, which decoding checks.

    Attributes:
        names: Of the rules.
        takes_options: Whether options may follow a name, as in `dual:refresh=8`.
    """

    names: tuple[str, ...] = ()
    takes_options: bool = True

    def schema(self) -> Schema:
        """As in `Kind`."""
        if not self.takes_options:
            return {"type": "string", "enum": list(self.names)}
        names = "|".join(map(re.escape, self.names))
        return {"type": "string", "maxLength": self.most, "pattern": f"^({names})(:.*)?$"}


@dataclass(frozen=True)
class Flag(Kind):
    """True or false."""

    expected = "true or false"

    def accepts(self, value: object) -> bool:
        """As in `Kind`."""
        return isinstance(value, bool)

    def schema(self) -> Schema:
        """As in `Kind`."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class Integer(Kind):
    """An integer within bounds.

    Attributes:
        least: Smallest.
        most: Largest.
    """

    least: int = 0
    most: int = 2**31 - 1

    @property
    def expected(self) -> str:  # type: ignore[override]  # read-only here
        """As in `Kind`."""
        return f"an integer from {self.least} to {self.most}"

    def accepts(self, value: object) -> bool:
        """As in `Kind`."""
        return is_integer(value) and self.least <= value <= self.most

    def schema(self) -> Schema:
        """As in `Kind`."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True)
class Setting(Kind):
    """A setting of decoding, checked as everywhere else.

    Attributes:
        option: What it may be.
    """

    option: Option

    def accepts(self, value: object) -> bool:
        """As in `Kind`."""
        try:
            self.option.check("request", value)
        except OptionError:
            return False
        return True

    def read(self, where: str, value: object) -> Any:
        """As in `Kind`."""
        try:
            return self.option.check("request", value)
        except OptionError as error:
            raise RequestError(str(error).removeprefix("request: "), where) from error

    def schema(self) -> Schema:
        """As in `Kind`."""
        one = self.option
        if one.kind is bool:
            return {"type": "boolean"}
        if one.kind is str:
            return {"type": "string", "enum": list(one.choices)}
        found: Schema = {"type": "integer" if one.kind is int else "number"}
        bounds = {"minimum": one.minimum, "maximum": one.maximum}
        found |= {name: bound for name, bound in bounds.items() if bound is not None}
        if not one.several:
            return found
        return {"anyOf": [found, {"type": "array", "items": found, "maxItems": MOST_OF_SEVERAL}]}


@dataclass(frozen=True)
class ListOf(Kind):
    """A list of one kind.

    Attributes:
        item: Of each item.
        least: Fewest items.
        most: Most items.
    """

    item: Kind
    least: int = 0
    most: int = 2**20

    @property
    def expected(self) -> str:  # type: ignore[override]  # read-only here
        """As in `Kind`."""
        bound = f", {self.least} to {self.most} of them" if self.most < 2**20 else ""
        some = " that is not empty" if self.least and not bound else ""
        return f"a list{some} of which each item is {self.item.expected}{bound}"

    def accepts(self, value: object) -> bool:
        """As in `Kind`."""
        return isinstance(value, list) and self.least <= len(value) <= self.most

    def read(self, where: str, value: object) -> list[Any]:
        """As in `Kind`."""
        items: list[object] = super().read(where, value)
        return [self.item.read(f"{where}[{n}]", item) for n, item in enumerate(items)]

    def schema(self) -> Schema:
        """As in `Kind`."""
        found: Schema = {"type": "array", "items": self.item.schema()}
        found |= {"minItems": self.least} if self.least else {}
        return found | ({"maxItems": self.most} if self.most < 2**20 else {})


@dataclass(frozen=True)
class AnyOf(Kind):
    """One of several kinds that are told apart on the outside.

    Attributes:
        kinds: They.
    """

    kinds: tuple[Kind, ...]

    @property
    def expected(self) -> str:  # type: ignore[override]  # read-only here
        """As in `Kind`."""
        return ", or ".join(kind.expected for kind in self.kinds)

    def accepts(self, value: object) -> bool:
        """As in `Kind`."""
        return any(kind.accepts(value) for kind in self.kinds)

    def read(self, where: str, value: object) -> Any:
        """As in `Kind`."""
        fitting = next((kind for kind in self.kinds if kind.accepts(value)), None)
        return super().read(where, value) if fitting is None else fitting.read(where, value)

    def schema(self) -> Schema:
        """As in `Kind`."""
        return {"anyOf": [kind.schema() for kind in self.kinds]}


@dataclass(frozen=True)
class Object(Kind):
    """An object, looked into by somebody else.

    Attributes:
        look: Returns what is made of it, or raises `RequestError`; called with field and value.
        fields: Schemas of the fields that it may have.
        required: Those that it must have.
        described: What a schema says instead of both.
    """

    look: Callable[[str, Mapping[str, Any]], Any] = lambda where, value: value
    fields: Mapping[str, Kind] | None = None
    required: tuple[str, ...] = ()
    described: Schema | None = None

    expected = "an object"

    def accepts(self, value: object) -> bool:
        """As in `Kind`."""
        return isinstance(value, dict)

    def read(self, where: str, value: object) -> Any:
        """As in `Kind`."""
        return self.look(where, super().read(where, value))

    def schema(self) -> Schema:
        """As in `Kind`."""
        if self.described is not None:
            return self.described
        found: Schema = {"type": "object"}
        if self.fields is not None:
            found["properties"] = {name: kind.schema() for name, kind in self.fields.items()}
        return found | ({"required": list(self.required)} if self.required else {})


@dataclass(frozen=True)
class Only(Kind):
    """What the API has and this server has not, unless it says nothing.

    Attributes:
        harmless: Values that ask for nothing.
        why: What is not there, and what to do instead.
        like: How a schema describes it.
    """

    harmless: tuple[Any, ...]
    why: str
    like: Kind | None = None

    def accepts(self, value: object) -> bool:
        """As in `Kind`."""
        return any(value == one and type(value) is type(one) for one in self.harmless)

    def read(self, where: str, value: object) -> Any:
        """As in `Kind`."""
        if not self.accepts(value):
            raise RequestError(f"{where} is {shown(value)}; {self.why}", where)
        return value

    def schema(self) -> Schema:
        """As in `Kind`."""
        return {"enum": list(self.harmless), "description": self.why}


@dataclass(frozen=True)
class Ignored(Kind):
    """What is taken and changes nothing here, such as a client's own name for its user."""

    expected = "anything"

    def accepts(self, value: object) -> bool:
        """As in `Kind`."""
        return True

    def schema(self) -> Schema:
        """As in `Kind`."""
        return {"description": "taken, and changes nothing"}
