"""Requirements of a distribution, as its metadata spells them: name, bounds, marker.

What pyproject.toml of ours uses of "Dependency specifiers" (packaging.python.org) and a bit more;
a line that is not understood is kept and said to be so. The package `packaging` is not one of what
a device installs.
"""

import operator
import platform
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

_LINE = re.compile(
    r"\s*(?P<name>[\w.-]+)\s*(?:\[[^\]]*\])?\s*\(?(?P<bounds>[^;()]*)\)?\s*(?:;(?P<marker>.*))?"
)
_BOUND = re.compile(r"(?P<operator>===|~=|[<>=!]=|[<>])\s*(?P<version>[\w.+!*-]+)")
_CLAUSE = re.compile(
    r"(?P<name>\w+)\s*(?P<operator>[<>=!]=|[<>])\s*(?P<quote>['\"])(?P<value>[^'\"]*)(?P=quote)"
)

_WORDS: Final = {
    ">=": "at least {} is needed",
    ">": "more than {} is needed",
    "<": "less than {} is needed",
    "<=": "at most {} is needed",
    "==": "{} is needed",
    "===": "{} is needed",
    "!=": "any but {} is needed",
    "~=": "a release compatible with {} is needed",
}

_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement of a distribution.

    Attributes:
        text: The line it was read from.
        name: The package.
        bounds: Operator and version, such as (">=", "1.24"); all must hold.
        extra: The extra that brings it; empty for a package that is always needed.
        applies: Whether its marker holds on this machine.
        understood: Whether every part of the line was read.
    """

    text: str
    name: str
    bounds: tuple[tuple[str, str], ...] = ()
    extra: str = ""
    applies: bool = True
    understood: bool = True

    def broken_by(self, version: str) -> str:
        """Returns the bound that a version breaks, in words; empty if there is none."""
        broken = (bound for bound in self.bounds if not _holds(version, *bound))
        return next((_WORDS[sign].format(wanted) for sign, wanted in broken), "")


def parse_requirements(lines: Iterable[str]) -> list[Requirement]:
    """Reads requirements such as ``name>=1.2,<2; python_version < '3.11' and extra == 'x'``."""
    return [_parse(line) for line in lines]


def release(version: str) -> tuple[int, ...]:
    """Returns the numbers a version begins with, without the zeros at their end."""
    numbers = re.match(r"\d+(?:\.\d+)*", version)
    parts = [int(part) for part in numbers[0].split(".")] if numbers else []
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def _parse(line: str) -> Requirement:
    match = _LINE.fullmatch(line)
    if match is None:
        words = re.findall(r"[\w.-]+", line)
        return Requirement(line, words[0] if words else line, understood=False)
    texts = [text.strip() for text in match["bounds"].split(",") if text.strip()]
    found = [_BOUND.fullmatch(text) for text in texts]
    extra, applies, read = _read_marker(match["marker"] or "")
    return Requirement(
        text=line,
        name=match["name"],
        bounds=tuple((one["operator"], one["version"]) for one in found if one is not None),
        extra=extra,
        applies=applies,
        understood=read and None not in found,
    )


def _read_marker(marker: str) -> tuple[str, bool, bool]:
    """The extra that a marker names, whether the rest holds, and whether all was understood."""
    extra, applies, understood = "", True, True
    for text in re.split(r"\band\b", marker) if marker.strip() else []:
        clause = _CLAUSE.fullmatch(text.strip().strip("()").strip())
        if clause is not None and (clause["name"], clause["operator"]) == ("extra", "=="):
            extra = clause["value"]
        elif clause is not None and clause["name"] in _machine():
            applies = applies and _clause_holds(clause)
        else:
            understood = False
    return extra, applies, understood


def _machine() -> dict[str, str]:
    """What markers can ask of this machine."""
    return {
        "python_version": ".".join(map(str, sys.version_info[:2])),
        "python_full_version": platform.python_version(),
        "sys_platform": sys.platform,
        "platform_system": platform.system(),
        "platform_machine": platform.machine(),
        "implementation_name": sys.implementation.name,
    }


def _clause_holds(clause: re.Match[str]) -> bool:
    name, value = clause["name"], clause["value"]
    here = _machine()[name]
    if name.startswith("python_"):
        return _holds(here, clause["operator"], value)
    return _OPERATORS[clause["operator"]](here, value)


def _holds(version: str, sign: str, wanted: str) -> bool:
    """Whether a version is what a bound asks for, by the numbers they begin with."""
    if sign == "===":
        return version == wanted
    have, want = release(version), release(wanted)
    if sign == "~=":
        fixed = tuple(map(int, re.findall(r"\d+", wanted)[:-1]))
        return have >= want and _padded(have, len(fixed)) == fixed
    if wanted.endswith(".*"):
        fixed = tuple(map(int, re.findall(r"\d+", wanted)))
        return (_padded(have, len(fixed)) == fixed) == (sign == "==")
    return _OPERATORS[sign](have, want)


def _padded(numbers: tuple[int, ...], size: int) -> tuple[int, ...]:
    return (*numbers, *[0] * size)[:size]
