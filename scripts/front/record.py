"""What was decoded so far, one line of JSON for each setting on each task, so that runs resume.

A line holds what every answer cost and whether it is right, and all that it depends on: the digest
of the artifact's manifest, the setting, the items and how they were decoded. What it does not hold
is the state of the code: after a rule has changed, begin a new record or remove its lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dawn_runtime.errors import OptionError
from front.questions import Phase
from front.rules import Setting


@dataclass(frozen=True)
class Conditions:
    """How items are drawn and decoded.

    Attributes:
        items: How many of each task were asked for.
        seed: Of the draw.
        max_new_tokens: Positions decoded.
        block_length: Tokens in a block.
        batch: Items decoded together.
        threads: Of the engine; None is its own choice.
    """

    items: int
    seed: int
    max_new_tokens: int
    block_length: int
    batch: int
    threads: int | None


@dataclass(frozen=True)
class Job:
    """What is decoded.

    Attributes:
        artifact: Its name.
        digest: Of its manifest, which holds the digests of all its files.
        setting: Rule and strength.
        task: Name of the task.
        phase: What its items are for.
        conditions: How.
    """

    artifact: str
    digest: str
    setting: Setting
    task: str
    phase: Phase
    conditions: Conditions


@dataclass(frozen=True)
class Outcome:
    """What came of it, item by item.

    Attributes:
        right: Whether the answer is right.
        forwards: Runs of the engine it took part in.
        rows: Positions fed.
        seconds: Time of its batch divided by the items in it: of the processor with one thread,
            which is that of the clock on a free core, and else of the clock.
    """

    right: tuple[bool, ...]
    forwards: tuple[int, ...]
    rows: tuple[int, ...]
    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuses an outcome of no items, or of which something is missing."""
        counts = {len(values) for values in vars(self).values()}
        if len(counts) != 1 or 0 in counts:
            raise ValueError("not as many right, forwards, rows and seconds")


class Record:
    """Outcomes by job, kept in a file.

    Args:
        path: Of the file; made if it is not there.

    Raises:
        OptionError: Its folder does not exist, or a line is not one of a record.
        OSError: It cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        if not path.parent.is_dir():
            raise OptionError(f"--record {path}: the folder does not exist; create it first")
        self._path = path
        with path.open("ab"):  # whether it can be written, before any work
            pass
        self._drop_torn_line()
        self.outcomes = dict(self._read())

    def add(self, job: Job, outcome: Outcome) -> None:
        """Keeps an outcome; it is in the file when this returns."""
        document = {**asdict(job), **asdict(outcome)}
        document["right"] = list(map(int, outcome.right))
        document["seconds"] = [round(value, 6) for value in outcome.seconds]
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(document, separators=(",", ":")) + "\n")
        self.outcomes[job] = outcome

    def _drop_torn_line(self) -> None:
        """Removes what was being written when a run was killed."""
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with self._path.open("r+b") as file:
                file.truncate(whole)

    def _read(self) -> Iterator[tuple[Job, Outcome]]:
        with self._path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                yield _parsed(line, f"--record {self._path}: line {number}")


def _parsed(line: str, where: str) -> tuple[Job, Outcome]:
    """Reads a line; raises OptionError if it is not one of a record."""
    try:
        document = json.loads(line)
        return _job(document), _outcome(document)
    except (ValueError, KeyError, TypeError) as error:
        raise OptionError(
            f"{where} is not one of a record ({type(error).__name__}: {error}); remove it, or name "
            "another file"
        ) from error


def _job(document: dict[str, Any]) -> Job:
    setting = document["setting"]
    axes = tuple((name, value) for name, value in setting["axes"])
    return Job(
        artifact=document["artifact"],
        digest=document["digest"],
        setting=Setting(setting["rule"], setting["policy"], axes),
        task=document["task"],
        phase=document["phase"],
        conditions=Conditions(**document["conditions"]),
    )


def _outcome(document: dict[str, Any]) -> Outcome:
    return Outcome(
        right=tuple(map(bool, document["right"])),
        forwards=tuple(document["forwards"]),
        rows=tuple(document["rows"]),
        seconds=tuple(document["seconds"]),
    )
