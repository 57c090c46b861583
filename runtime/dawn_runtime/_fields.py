"""Strict reading of JSON objects: every complaint names the file and the field."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NoReturn

from dawn_runtime._json import parse_json
from dawn_runtime.errors import ArtifactError
from dawn_runtime.files import read_plain, reason_of, text_of

MAX_INTEGER: Final = 2**63 - 1
"""Largest integer of a field that states no bound of its own; what 64 bits hold."""


@dataclass(frozen=True, slots=True)
class Fields:
    """One JSON object with the file and the path it came from.

    Every reader raises `ArtifactError` when the field is missing or of another type. A JSON
    `true` is not an integer here, and numbers must be finite.

    Attributes:
        values: The decoded object.
        source: File name for messages.
        path: Dotted path of this object inside the file, empty at the root.
        remedy: What makes the file anew, for messages.
    """

    values: Mapping[str, object]
    source: str
    path: str = ""
    remedy: str = "export again"

    @classmethod
    def parse(cls, text: str, source: str, remedy: str = "export again") -> "Fields":
        """Decodes a document whose root must be an object."""
        try:
            root = parse_json(text, finite=False)  # `number` names the field
        except ValueError as error:
            raise ArtifactError(f"{source}: not valid JSON ({error}); {remedy}") from error
        if not isinstance(root, dict):
            raise ArtifactError(f"{source}: holds {_kind(root)}, expected a JSON object")
        return cls(root, source, remedy=remedy)

    @classmethod
    def read(cls, path: Path, limit: int, remedy: str = "export again") -> "Fields":
        """Reads a plain file of at most `limit` bytes whose root must be an object."""
        return cls.parse(read_text(path, limit, remedy), str(path), remedy)

    def only(self, *names: str) -> None:
        """Refuses every field that is not named."""
        for name in self.values:
            if name not in names:
                self._fail(name, f"is unknown; expected only {', '.join(names)}")

    def integer(self, name: str, minimum: int = 0, maximum: int = MAX_INTEGER) -> int:
        """Reads an integer from `minimum` to `maximum`."""
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            self._fail(name, f"is {_kind(value)}; expected an integer >= {minimum}")
        if value > maximum:
            self._fail(name, f"is {value}; expected an integer <= {maximum}")
        return value

    def optional_integer(self, name: str, minimum: int = 0) -> int | None:
        """Reads an integer or `null`."""
        return None if self._get(name) is None else self.integer(name, minimum)

    def text(self, name: str) -> str:
        """Reads a string that is not empty."""
        value = self._get(name)
        if not isinstance(value, str) or not value:
            self._fail(name, f"is {_kind(value)}; expected a non-empty string")
        return value

    def flag(self, name: str) -> bool:
        """Reads `true` or `false`."""
        value = self._get(name)
        if not isinstance(value, bool):
            self._fail(name, f"is {_kind(value)}; expected true or false")
        return value

    def number(self, name: str) -> float:
        """Reads a finite number."""
        value = self._get(name)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            self._fail(name, f"is {_kind(value)}; expected a number")
        if not math.isfinite(value):
            self._fail(name, f"is {value}; expected a finite number")
        return value

    def option(self, name: str) -> float | int | str | bool:
        """Reads a string, a boolean or a finite number."""
        value = self._get(name)
        return value if isinstance(value, (bool, str)) else self.number(name)

    def items(self, name: str) -> list[object]:
        """Reads a list."""
        value = self._get(name)
        if not isinstance(value, list):
            self._fail(name, f"is {_kind(value)}; expected a list")
        return value

    def numbers(self, name: str) -> tuple[float, ...]:
        """Reads a list of finite numbers."""
        entries = self.entries(name)
        return tuple(map(entries.number, entries.values))

    def boolean(self, name: str) -> bool:
        """Reads `true` or `false`."""
        value = self._get(name)
        if not isinstance(value, bool):
            self._fail(name, f"is {_kind(value)}; expected true or false")
        return value

    def integers(self, name: str, minimum: int = 0) -> tuple[int, ...]:
        """Reads a list of integers not below `minimum`."""
        entries = self.entries(name)
        return tuple(entries.integer(key, minimum) for key in entries.values)

    def entries(self, name: str) -> "Fields":
        """Reads a list as fields named `name[0]`, `name[1]`, ..., for readers of mixed lists."""
        values = {f"{name}[{i}]": value for i, value in enumerate(self.items(name))}
        return replace(self, values=values)

    def nested(self, name: str) -> "Fields":
        """Reads a nested object."""
        return self._as_fields(name, self._get(name))

    def objects(self, name: str) -> tuple["Fields", ...]:
        """Reads a list of objects."""
        return tuple(
            self._as_fields(f"{name}[{i}]", value) for i, value in enumerate(self.items(name))
        )

    def _as_fields(self, name: str, value: object) -> "Fields":
        if not isinstance(value, dict):
            self._fail(name, f"is {_kind(value)}; expected an object")
        return replace(self, values=value, path=self.full(name))

    def _get(self, name: str) -> object:
        if name not in self.values:
            self._fail(name, f"is missing; {self.remedy}")
        return self.values[name]

    def full(self, name: str) -> str:
        """Returns the dotted path of a field."""
        return f"{self.path}.{name}" if self.path else name

    def _fail(self, name: str, problem: str) -> NoReturn:
        raise ArtifactError(f"{self.source}: field {self.full(name)!r} {problem}")


def read_text(path: Path, limit: int, remedy: str = "export again") -> str:
    """Reads a plain file of at most `limit` bytes of UTF-8.

    Raises:
        ArtifactError: It cannot be read, or is something else.
    """
    try:
        return text_of(read_plain(path, limit))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read ({reason_of(error)}); {remedy}") from error


def _kind(value: object) -> str:
    """Describes a decoded JSON value in a few words."""
    if value is None:
        return "null"
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return f"{value!r:.60}"
