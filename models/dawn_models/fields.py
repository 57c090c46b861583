"""Typed reading of a JSON object: every complaint names the file and the field."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dawn_models.errors import ConfigError
from dawn_models.files import outside, read_start

MAX_JSON_BYTES = 64 * 2**20
"""Largest JSON file we parse; parsed, it may take twenty times as much memory."""

MAX_CONFIG_BYTES = 2**20
"""Largest configuration; published ones stay below 10 KiB."""

MAX_DIGITS = 1000
"""Digits of the longest integer that is parsed; Python's own limit is told in words of its own."""

MAX_INTEGER = 2**31 - 1
"""Largest size in a configuration."""


def read_json(path: Path, *, limit: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Read a JSON object from a file of a checkpoint.

    Args:
        path: the file; a link must stay in its folder.
        limit: largest file that is read, in bytes.

    Raises:
        ConfigError: the file is missing, too large, not UTF-8, not JSON, or not an object.
    """
    target = outside(path)
    if target is not None:
        raise ConfigError(f"{path}: links to {target}, outside its folder; copy the file")
    try:
        content, size = read_start(path, limit)
        if size > limit:
            raise ConfigError(f"{path}: {size} bytes of JSON, at most {limit} are read")
        return parse_json(content)
    except FileNotFoundError:
        raise ConfigError(f"{path}: file not found; expected a Hugging Face checkpoint") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not readable as JSON: {_one_line(error)}") from error


def parse_json(content: bytes) -> dict[str, Any]:
    """Parse a JSON object strictly: UTF-8, no field twice, no NaN, no bottomless nesting.

    Raises:
        ValueError: it is none.
    """
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_strict_object,
            # Python reads NaN and Infinity, which are not JSON, and 1e999 as infinity.
            parse_constant=_finite,
            parse_float=_finite,
            parse_int=_integer,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"got {describe(value)}, expected a JSON object")  # noqa: TRY004 - of data
    return value


def _one_line(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else None
    return " ".join((reason or str(error)).split())[:300]


def _strict_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"field {key!r:.100} appears twice")
        result[key] = value
    return result


def _integer(text: str) -> int:
    digits = len(text.lstrip("-"))
    if digits > MAX_DIGITS:
        raise ValueError(f"got an integer of {digits} digits, expected at most {MAX_DIGITS}")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"got {text:.30}, expected finite numbers")
    return number


class Fields:
    """Typed access to the fields of one configuration file.

    Args:
        values: the JSON object.
        path: where it came from, for messages.
        notes: takes a line for everything that was found and not followed.

    Attributes:
        notes: these lines.
    """

    def __init__(
        self, values: Mapping[str, Any], path: Path, notes: list[str] | None = None
    ) -> None:
        self.values = values
        self.path = path
        self.notes: list[str] = [] if notes is None else notes

    def integer(
        self,
        name: str,
        *,
        minimum: int = 0,
        maximum: int = MAX_INTEGER,
        default: int | None = None,
    ) -> int:
        """An integer within bounds; `default` where the field is absent or null."""
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise self.error(name, value, f"an integer of at least {minimum}")
        if value > maximum:
            raise self.error(name, value, f"an integer of at most {maximum}")
        return value

    def optional_integer(self, name: str) -> int | None:
        """An integer of at least 0, or None where the field is absent or null."""
        return None if self.values.get(name) is None else self.integer(name)

    def positive(self, name: str, *, default: float | None = None) -> float:
        """A finite number above 0."""
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(name, value, "a number above 0")
        # Compared, not converted: an integer may be too large for a float.
        if not 0 < value <= sys.float_info.max:
            raise self.error(name, value, "a finite number above 0")
        return float(value)

    def boolean(self, name: str, *, default: bool | None = None) -> bool:
        """True or false."""
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise self.error(name, value, "true or false")
        return value

    def token_ids(self, name: str) -> tuple[int, ...]:
        """One token id or a list of them; empty where the field is absent or null."""
        value = self.values.get(name)
        ids = [] if value is None else value if isinstance(value, list) else [value]
        if any(isinstance(i, bool) or not isinstance(i, int) or i < 0 for i in ids):
            raise self.error(name, value, "a token id or a list of token ids")
        return tuple(ids)

    def require(self, name: str, *allowed: Any) -> None:
        """Refuse any value but the `allowed` ones; an absent field counts as null."""
        value = self.values.get(name)
        # 0 == False in Python, but not in a configuration file.
        if not any(value == a and isinstance(value, bool) == isinstance(a, bool) for a in allowed):
            choices = " or ".join(json.dumps(a) for a in allowed)
            raise self.error(name, value, f"{choices}, the only values implemented")

    def error(self, name: str, value: Any, expected: str) -> ConfigError:
        """A `ConfigError` that names the file, the field, what was got and what was expected."""
        got = "nothing" if value is None else describe(value)
        return ConfigError(f"{self.path}: field {name!r}: got {got}, expected {expected}")

    def _get(self, name: str, default: Any) -> Any:
        value = self.values.get(name)
        return default if value is None else value


def describe(value: Any) -> str:
    """A value out of JSON in at most 60 characters."""
    try:
        text = json.dumps(value)
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."
