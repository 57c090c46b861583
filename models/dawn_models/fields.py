"""Typed reading of a JSON object: every complaint names the file and the field."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dawn_models.errors import ConfigError

MAX_JSON_BYTES = 64 * 2**20
"""Largest JSON file we parse; the index of the largest public checkpoints stays far below."""


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from `path`.

    Raises:
        ConfigError: the file is missing, too large, not UTF-8, not JSON, or not an object.
    """
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise ConfigError(f"{path}: {size} bytes of JSON, at most {MAX_JSON_BYTES} are read")
        value = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique_keys)
    except FileNotFoundError:
        raise ConfigError(f"{path}: file not found; expected a Hugging Face checkpoint") from None
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: got {type(value).__name__}, expected a JSON object")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {repeated!r} appears twice")
    return result


class Fields:
    """Typed access to the fields of one configuration file.

    Args:
        values: the JSON object.
        path: where it came from, for messages.
    """

    def __init__(self, values: Mapping[str, Any], path: Path) -> None:
        self.values = values
        self.path = path

    def integer(self, name: str, *, minimum: int = 0, default: int | None = None) -> int:
        """An integer of at least `minimum`; `default` where the field is absent or null."""
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise self.error(name, value, f"an integer of at least {minimum}")
        return value

    def optional_integer(self, name: str) -> int | None:
        """An integer of at least 0, or None where the field is absent or null."""
        return None if self.values.get(name) is None else self.integer(name)

    def positive(self, name: str, *, default: float | None = None) -> float:
        """A finite number above 0."""
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(name, value, "a number above 0")
        if not (math.isfinite(value) and value > 0):
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
        got = "nothing" if value is None else _short(value)
        return ConfigError(f"{self.path}: field {name!r}: got {got}, expected {expected}")

    def _get(self, name: str, default: Any) -> Any:
        value = self.values.get(name)
        return default if value is None else value


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
