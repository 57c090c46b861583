"""Rules by name: policies, windows and caches register here and are made from name and options."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, Generic, TypeVar

from dawn_runtime._json import parse_json
from dawn_runtime.checks import shown
from dawn_runtime.errors import OptionError

T = TypeVar("T")

_MAX_VALUE = 1000
"""Characters of the longest value of an option; they are numbers and names."""


class Registry(Generic[T]):
    """Maps names to frozen dataclasses of one kind.

    A class registers under its class attribute `name`; its dataclass fields are its options.

        POLICIES = Registry("policy", Policy)

        @POLICIES.register
        @dataclass(frozen=True, slots=True)
        class Threshold(Policy): ...

        POLICIES.make("threshold", {"threshold": 0.8})

    Args:
        kind: What they are called, such as `policy`.
        base: The class that all of them are of.
        beside: Fields that are no options, but settings of their own: nobody is told to give them.
    """

    def __init__(self, kind: str, base: type[Any] = object, beside: tuple[str, ...] = ()) -> None:
        self._kind = kind
        self._beside = beside
        self._base = base
        self._classes: dict[str, type[Any]] = {}

    def register(self, cls: type[T]) -> type[T]:
        """Adds a class under its `name`; meant as a decorator.

        Raises:
            OptionError: Another class has that name.
        """
        name: str = cls.name  # type: ignore[attr-defined]  # every kind declares it
        if name in self._classes:
            raise OptionError(f"{self._kind} {name!r} is registered already; choose another name")
        self._classes[name] = cls
        return cls

    def names(self) -> tuple[str, ...]:
        """Returns the registered names in alphabetical order."""
        return tuple(sorted(self._classes))

    def make(self, rule: str | T, options: Mapping[str, Any] | None = None) -> T:
        """Returns a rule made from its name and options, or the rule itself if it is one already.

        Args:
            rule: Registered name, or an object that is used as it is.
            options: Values for the fields of the named class; the rest keep their defaults.

        Raises:
            OptionError: Unknown name, unknown option or bad value, options beside an object, or
                neither a name nor an object of this kind.
        """
        given = check_options(self._kind, options)
        if not isinstance(rule, str):
            if given:
                raise OptionError(
                    f"options {sorted(given)} were given beside a {self._kind} object; "
                    f"give them to its constructor, or name the {self._kind}"
                )
            return self._checked(rule)
        cls = self._classes.get(rule)
        if cls is None:
            raise OptionError(unknown(self._kind, rule, self.names()))
        return self._construct(cls, given)

    def parse(self, rule: str | T, defaults: Mapping[str, Any] | None = None) -> T:
        """Returns a rule made from a text such as `dual` or `dual:refresh=8`, or the rule itself.

        Args:
            rule: Registered name, perhaps followed by a colon and options KEY=VALUE with commas
                between them, where a value that is not JSON is a text; or an object.
            defaults: Options of a named rule that the text leaves out, as far as it has them.

        Raises:
            OptionError: The text is malformed, or as for `make`.
        """
        if not isinstance(rule, str):
            return self.make(rule)
        name, colon, listed = rule.partition(":")
        options = parse_options(listed.split(",") if colon else (), f"{self._kind} option")
        known = [field.name for field in fields(self._classes[name])] if name in self else []
        applicable = {key: value for key, value in (defaults or {}).items() if key in known}
        return self.make(name, {**applicable, **options})

    def _checked(self, rule: T) -> T:
        """Refuses what is neither a name nor an object of this kind, a class of it included."""
        if not isinstance(rule, self._base):
            raise OptionError(
                f"{self._kind} is {shown(rule)}; expected a name ({', '.join(self.names())}) or an "
                f"object of class {self._base.__name__}"
            )
        return rule

    def fields_of(self, name: str) -> tuple[str, ...]:
        """Returns the names of the options of a registered class.

        Raises:
            OptionError: There is none of that name.
        """
        return tuple(field.name for field in fields(self.class_of(name)))

    def class_of(self, name: str) -> type[Any]:
        """Returns a registered class.

        Raises:
            OptionError: There is none of that name.
        """
        if name not in self:
            raise OptionError(unknown(self._kind, name, self.names()))
        return self._classes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._classes

    def _construct(self, cls: type[Any], options: dict[str, Any]) -> T:
        known = tuple(field.name for field in fields(cls))
        for name in options:
            if name not in known:
                own = tuple(one for one in known if one not in self._beside)
                raise OptionError(unknown(f"option of {self._kind} {cls.name!r}", name, own))
        made: T = cls(**options)
        return made


def check_options(kind: str, options: object) -> dict[str, Any]:
    """Returns options by name as a dictionary of their own; None is none.

    Args:
        kind: What they are options of, for the message, such as `policy`.
        options: What was given.

    Raises:
        OptionError: They are no mapping whose keys are texts.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        raise OptionError(
            f"options of the {kind} are {shown(options)}; expected values by name, such as "
            "{'threshold': 0.8}"
        )
    return dict(options)


def parse_options(texts: Iterable[str], owner: str) -> dict[str, Any]:
    """Splits several KEY=VALUE; arguments and errors as for `parse_option`.

    Raises:
        OptionError: A text is not KEY=VALUE, or a key comes twice.
    """
    options: dict[str, Any] = {}
    for text in texts:
        key, value = parse_option(text, owner)
        if key in options:
            raise OptionError(f"{owner} {key} is given twice; give it once")
        options[key] = value
    return options


def parse_option(text: str, owner: str) -> tuple[str, Any]:
    """Splits KEY=VALUE; a value that is not JSON is a text.

    Args:
        text: What was given.
        owner: Who takes the option, for the message, such as `--set`.

    Raises:
        OptionError: The text is not KEY=VALUE.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise OptionError(f"{owner} {shown(text)} is not KEY=VALUE, such as tau_edge=0.05")
    if len(value) > _MAX_VALUE:
        raise OptionError(
            f"{owner} {key:.80}: its value has {len(value)} characters; expected at "
            f"most {_MAX_VALUE}"
        )
    try:
        return key, parse_json(value)
    except ValueError:
        return key, value


def unknown(kind: str, name: object, known: tuple[str, ...]) -> str:
    """Words the message for a name that does not exist, with the nearest one that does."""
    if not known:
        return f"unknown {kind}: {shown(name)}; there are none"
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.7)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown {kind}: {shown(name)}; {hint}known: {', '.join(known)}"
