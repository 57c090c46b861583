"""What the Python bindings of TensorRT offer, read from their docstrings.

`surface` reads an imported module. `tests/data/tensorrt_surface.json` holds what it read from the
bindings of releases that cannot be installed here.
"""

import json
import re
from pathlib import Path
from types import ModuleType

TABLE = Path(__file__).parent.parent / "data" / "tensorrt_surface.json"

Members = dict[str, list[list[str]] | None]
"""Name -> the argument names of each overload without `self`; None for what is not called."""

_OPEN, _CLOSE = "([{<", ")]}>"


def surface(module: ModuleType) -> dict[str, Members]:
    """Classes of a module and their public members."""
    classes = {name: value for name, value in vars(module).items() if isinstance(value, type)}
    return {name: members(cls) for name, cls in sorted(classes.items())}


def members(cls: type) -> Members:
    """Public members of a class, inherited ones too, and its constructor."""
    names = [name for name in dir(cls) if not name.startswith("_")] + ["__init__"]
    return {name: signatures(name, getattr(cls, name)) for name in names}


def signatures(name: str, member: object) -> list[list[str]] | None:
    """Argument names of every overload, as pybind11 writes them into a docstring."""
    if not callable(member):
        return None
    pattern = re.compile(rf"^(?:\d+\. )?{re.escape(name)}\((.*)\) -> ", re.MULTILINE)
    return [arguments(found) for found in pattern.findall(member.__doc__ or "")]


def arguments(text: str) -> list[str]:
    """Names in `self: X, a: Dict[K, V], b: int = <E.A: 0>`, without `self`."""
    depth, start, parts = 0, 0, []
    for place, letter in enumerate(text):
        depth += (letter in _OPEN) - (letter in _CLOSE)
        if letter == "," and not depth:
            parts.append(text[start:place])
            start = place + 1
    names = [part.split(":")[0].strip() for part in [*parts, text[start:]]]
    return [name for name in names if name not in ("self", "", "*args", "**kwargs")]


def recorded() -> dict[str, dict[str, Members]]:
    """Release -> what its bindings offer."""
    table: dict[str, dict[str, Members]] = json.loads(TABLE.read_text(encoding="utf-8"))["releases"]
    return table
