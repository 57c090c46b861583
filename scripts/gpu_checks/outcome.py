"""One check and how it ended."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dawn_runtime.errors import DawnError, DependencyError


class CheckError(DawnError):
    """What was measured is not what is promised."""


@dataclass(frozen=True)
class Outcome:
    """One line of the report.

    Attributes:
        check: Name of the check.
        artifact: Name of the artifact folder, empty if there is none.
        engine: Name of the engine, empty if there is none.
        status: `passed`, `failed`, or `skipped` where a package is not installed.
        seconds: Wall time.
        reason: Why it failed or was skipped, in one line.
        measured: What was measured, for JSON.
        traceback: Where an unexpected error came from, else empty.
    """

    check: str
    artifact: str
    engine: str
    status: Literal["passed", "failed", "skipped"]
    seconds: float
    reason: str
    measured: dict[str, Any]
    traceback: str = ""

    def __str__(self) -> str:
        where = " ".join(filter(None, [self.artifact, self.engine]))
        return f"{self.status:<8}{self.check:<12}{where:<40}{self.seconds:8.1f} s  {self.reason}"


def attempt(
    check: str, artifact: Path | None, engine: str, work: Callable[[], dict[str, Any]]
) -> Outcome:
    """Runs a check; whatever it raises is its result, for the other checks are still to be done.

    Args:
        check: Name of the check.
        artifact: Artifact folder, if there is one.
        engine: Name of the engine, if there is one.
        work: Does it and returns what was measured.
    """
    started = time.perf_counter()
    status: Literal["passed", "failed", "skipped"] = "passed"
    reason, measured, where = "", {}, ""
    try:
        measured = work()
    except DependencyError as error:
        status, reason = "skipped", str(error)
    except DawnError as error:
        status, reason = "failed", str(error)
    except Exception as error:
        status, reason = "failed", f"unexpected {type(error).__name__}: {error}"
        where = traceback.format_exc()
    seconds = time.perf_counter() - started
    name = "" if artifact is None else artifact.name
    return Outcome(check, name, engine, status, seconds, " ".join(reason.split()), measured, where)
