"""What was found of evidence, one line of JSON for each model and conditions, so that runs resume.

A line holds the areas and the weights that decoding goes on with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dawn_runtime.errors import OptionError
from front.record import Conditions
from probe.judging import Found
from probe.logistic import Logistic


@dataclass(frozen=True)
class Subject:
    """What is looked into.

    Attributes:
        model: Name of the checkpoint.
        digest: Of its files.
        tasks: Names of tasks.
        learn: How the items are drawn that weights are learned on.
        judge: How those are drawn that they are judged on.
    """

    model: str
    digest: str
    tasks: tuple[str, ...]
    learn: Conditions
    judge: Conditions


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was found.

    Attributes:
        found: Areas by task, label and evidence.
        model: Of all heads and entropies, for decoding.
    """

    found: Sequence[Found]
    model: Logistic


def path_beside(record: Path) -> Path:
    """Returns the file of evidence that goes with a record of decoding."""
    return record.with_name(f"{record.stem}.auc.jsonl")


def load(path: Path, subject: Subject) -> Evidence | None:
    """Returns what is in the file of a subject; None if it is not.

    Raises:
        OptionError: A line is not one of such a file.
    """
    if not path.exists():
        return None
    wanted = _plain(asdict(subject))
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    found = (_parsed(line, f"{path}: line {number}") for number, line in lines)
    return next((evidence for known, evidence in found if known == wanted), None)


def _parsed(line: str, where: str) -> tuple[Any, Evidence]:
    """Reads a line: a subject as it is written, and what was found of it."""
    try:
        document = json.loads(line)
        return document["subject"], _evidence(document)
    except (ValueError, KeyError, TypeError) as error:
        raise OptionError(
            f"{where} is not one of this script ({type(error).__name__}: {error}); remove it, or "
            "name another --record"
        ) from error


def add(path: Path, subject: Subject, evidence: Evidence) -> None:
    """Adds what was found; the file is whole before and after."""
    model = {"weights": evidence.model.weights.tolist(), "bias": evidence.model.bias}
    document = {"subject": asdict(subject), "found": found_dicts(evidence.found), "model": model}
    kept = path.read_text(encoding="utf-8") if path.exists() else ""
    new = path.with_name(f"{path.name}.new")
    new.write_text(kept + json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")
    new.replace(path)


def found_dicts(found: Sequence[Found]) -> list[dict[str, Any]]:
    """Returns areas for JSON, which knows no NaN."""
    return [
        {name: None if _no_number(value) else value for name, value in asdict(one).items()}
        for one in found
    ]


def _no_number(value: object) -> bool:
    return (isinstance(value, float) and math.isnan(value)) or (
        isinstance(value, tuple) and any(math.isnan(bound) for bound in value)
    )


def _evidence(document: dict[str, Any]) -> Evidence:
    nan = float("nan")
    found = [
        Found(
            **{
                **one,
                "auc": nan if one["auc"] is None else one["auc"],
                "interval": (nan, nan) if one["interval"] is None else tuple(one["interval"]),
            }
        )
        for one in document["found"]
    ]
    model = document["model"]
    return Evidence(found, Logistic(np.asarray(model["weights"], dtype=np.float64), model["bias"]))


def _plain(value: dict[str, Any]) -> Any:
    return json.loads(json.dumps(value))
