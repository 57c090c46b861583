"""Strict reading of JSON: the one parser for everything that people or other programs write.

Python's own is laxer than the format where that hides mistakes (a field given twice, NaN) and
fails in ways of its own where a document is hostile (nesting without end, integers of a million
digits). The exporter's reader of checkpoints, `dawn_models.fields.parse_json`, has the same rules.
"""

import json
import math
import re
from typing import Any, Final

MAX_DEPTH: Final = 100
"""Deepest nesting; messages with calls of tools in them stay below 20."""

MAX_DIGITS: Final = 40
"""Digits of the longest integer; 64 bits are 20."""

_BYTE_ORDER_MARK: Final = "\ufeff"
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def parse_json(text: str, *, finite: bool = True) -> Any:
    """Reads one JSON document.

    Args:
        text: The document; a byte order mark in front, as Windows editors write it, is dropped.
        finite: Whether NaN and infinities are refused; a reader that names the fields of what it
            reads refuses them better itself.

    Raises:
        ValueError: It is malformed, is nested deeper than `MAX_DEPTH`, gives a field twice, or
            holds NaN, an infinity or an integer of more than `MAX_DIGITS` digits.
    """
    try:
        value = json.loads(
            text.removeprefix(_BYTE_ORDER_MARK),
            object_pairs_hook=_object,
            parse_constant=_finite if finite else float,
            parse_float=_finite if finite else float,  # 1e999 is infinity to Python
            parse_int=_integer,
        )
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if _is_deep(value):
        raise ValueError(_TOO_DEEP)
    return value


def is_unicode(value: object) -> bool:
    """Tells whether a text, and every text inside of lists and objects, is Unicode.

    Half a character (a lone surrogate) is not. JSON can spell one, and Python puts one in the place
    of every byte of a command line that is not UTF-8.

    Args:
        value: What `parse_json` returns, or a text.
    """
    if isinstance(value, str):
        return _SURROGATE.search(value) is None
    if isinstance(value, dict):
        return all(is_unicode(key) and is_unicode(item) for key, item in value.items())
    return all(map(is_unicode, value)) if isinstance(value, list) else True


_TOO_DEEP: Final = f"it is nested more than {MAX_DEPTH} levels deep"


def _is_deep(value: object) -> bool:
    """Looks at one level after the other, so that no depth can exhaust the stack."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"field {twice!r:.100} appears twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"got {text:.30}, expected a finite number")
    return number


def _integer(text: str) -> int:
    digits = len(text.lstrip("-"))
    if digits > MAX_DIGITS:
        raise ValueError(f"an integer of {digits} digits; expected at most {MAX_DIGITS}")
    return int(text)
