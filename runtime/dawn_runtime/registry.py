"""Rules by name: policies, windows and caches register here and are made from name and options."""

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Generic, TypeVar

from dawn_runtime._json import parse_json
from dawn_runtime.errors import OptionError

T = TypeVar("T")

_MAX_VALUE = 1000
"""Characters of the longest value of an option; they are numbers and names."""


class Registry(Generic[T]):
    """Maps names to frozen dataclasses of one kind.

    A class registers under its class attribute `name`; its dataclass fields are its options.

        POLICIES = Registry[Policy]("policy")

        @POLICIES.register
        @dataclass(frozen=True, slots=True)
        class Threshold(Policy): ...

        POLICIES.make("threshold", {"threshold": 0.8})
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
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
            OptionError: Unknown name, unknown option or bad value, or options beside an object.
        """
        if not isinstance(rule, str):
            if options:
                raise OptionError(
                    f"options {sorted(options)} were given beside a {self._kind} object; "
                    f"give them to its constructor, or name the {self._kind}"
                )
            return rule
        cls = self._classes.get(rule)
        if cls is None:
            raise OptionError(unknown(self._kind, rule, self.names()))
        return self._construct(cls, dict(options or {}))

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
        name, _, listed = rule.partition(":")
        options = dict(
            parse_option(text, f"{self._kind} option") for text in listed.split(",") if listed
        )
        known = [field.name for field in fields(self._classes[name])] if name in self else []
        applicable = {key: value for key, value in (defaults or {}).items() if key in known}
        return self.make(name, {**applicable, **options})

    def __contains__(self, name: object) -> bool:
        return name in self._classes

    def _construct(self, cls: type[Any], options: dict[str, Any]) -> T:
        known = tuple(field.name for field in fields(cls))
        for name in options:
            if name not in known:
                raise OptionError(unknown(f"option of {self._kind} {cls.name!r}", name, known))
        made: T = cls(**options)
        return made


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
        raise OptionError(f"{owner} {text!r:.80} is not KEY=VALUE, such as tau_edge=0.05")
    if len(value) > _MAX_VALUE:
        raise OptionError(
            f"{owner} {key:.80}: its value has {len(value)} characters; expected at "
            f"most {_MAX_VALUE}"
        )
    try:
        return key, parse_json(value)
    except ValueError:
        return key, value


def unknown(kind: str, name: str, known: tuple[str, ...]) -> str:
    """Words the message for a name that does not exist, with the nearest one that does."""
    if not known:
        return f"unknown {kind}: {name!r}; there are none"
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown {kind}: {name!r}; {hint}known: {', '.join(known)}"
