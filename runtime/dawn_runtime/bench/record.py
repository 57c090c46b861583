"""What was measured, as a document and back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from dawn_runtime._json import parse_json
from dawn_runtime.bench.plan import Case
from dawn_runtime.bench.statistics import Quantiles
from dawn_runtime.errors import OptionError
from dawn_runtime.files import read_stream, reason_of, text_of

FORMAT: Final = "dawn-bench"
VERSION: Final = 1
_MOST_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one case took; medians over the turns unless said otherwise.

    Attributes:
        case: Which.
        tokens_per_second: Tokens that a reader gets, over the wall time of all steps.
        seconds: That wall time, opening passes included.
        tokens: Those tokens, of all answers; neither ends nor padding.
        answers: How many answers.
        forwards: Runs of the engine, of each batch as many as its longest row takes part in.
        rows_fed: Positions fed, over all rows and runs.
        head_rows: Of how many of them the head was computed.
        milliseconds_per_forward: `seconds` over `forwards`.
        outside_share: Part of `seconds` that was not spent inside the engine.
        first_token: Seconds to the first committed token of an answer, over all turns; None where
            none was committed.
        step: Seconds of a step, likewise.
        answer: Seconds of an answer, likewise.
        peak_bytes: Most resident memory of the process in any turn; None where it is not told.
        joules: By source, of a turn; empty where the machine does not tell.
        ratio: Tokens a second, those of the first case in the same turn being 1.
        ratio_interval: Of `ratio`, see `statistics.interval`.
        speedup: Seconds of the first artifact over those of this one in the same turn.
        speedup_interval: Of `speedup`, likewise.
        turns: `seconds` of every turn.
    """

    case: Case
    tokens_per_second: float
    seconds: float
    tokens: int
    answers: int
    forwards: int
    rows_fed: int
    head_rows: int
    milliseconds_per_forward: float
    outside_share: float
    first_token: Quantiles | None
    step: Quantiles
    answer: Quantiles
    peak_bytes: int | None
    joules: Mapping[str, float]
    ratio: float
    ratio_interval: tuple[float, float]
    speedup: float
    speedup_interval: tuple[float, float]
    turns: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns it for JSON, the fields of the case beside the others."""
        document = asdict(self)
        return {**document.pop("case"), **document}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Measurement":
        """Reads what `to_dict` gives.

        Raises:
            KeyError: A field is missing.
            TypeError: One has another form.
            ValueError: A number is none.
        """
        own = {one.name: document[one.name] for one in fields(cls) if one.name != "case"}
        case = Case(**{one.name: document[one.name] for one in fields(Case)})
        for name in ("first_token", "step", "answer"):
            own[name] = None if own[name] is None else Quantiles(**own[name])
        for name in ("ratio_interval", "speedup_interval", "turns"):
            own[name] = tuple(map(float, own[name]))
        found = cls(case=case, **own)
        _check_numbers(found)
        return found


@dataclass(frozen=True, slots=True)
class Record:
    """A result file.

    Attributes:
        header: All but what was measured: command, machine, prompts, rules, remarks.
        measured: One for each case, the first being what the others are compared with.
    """

    header: Mapping[str, Any]
    measured: tuple[Measurement, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns the document."""
        measured = [one.to_dict() for one in self.measured]
        return {"format": FORMAT, "version": VERSION, **self.header, "measured": measured}

    @property
    def artifacts(self) -> list[str]:
        """Folders of the artifacts, in their order."""
        return list(dict.fromkeys(one.case.artifact for one in self.measured))


def read_record(path: Path) -> Record:
    """Reads a result file, perhaps a pipe.

    Raises:
        OptionError: It cannot be read, or is no result of dawn-bench.
    """
    try:
        document = parse_json(text_of(read_stream(path, _MOST_BYTES)))
    except (OSError, ValueError) as error:
        raise OptionError(f"{path}: cannot read a result: {reason_of(error)}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise OptionError(f"{path}: no result of dawn-bench; give a file of its --output")
    if document.get("version") != VERSION:
        raise OptionError(
            f"{path}: has version {document.get('version')!r:.20}, expected {VERSION}; measure "
            "again, or use the dawn-bench that wrote it"
        )
    header = {k: v for k, v in document.items() if k not in ("format", "version", "measured")}
    try:
        measured = tuple(map(Measurement.of, document["measured"]))
        _check_header(header)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}"
        raise OptionError(f"{path}: a damaged result ({said:.100}); measure again") from error
    if not measured:
        raise OptionError(f"{path}: holds no measurement; measure again")
    return Record(header, measured)


def _check_header(header: Mapping[str, Any]) -> None:
    """Looks at what reports and comparisons read."""
    for name, kind in (("command", list), ("machine", dict), ("prompts", dict), ("remarks", list)):
        if not isinstance(header[name], kind):
            raise TypeError(f"{name} is no {kind.__name__}")
    for name in ("source", "count", "sha256"):
        header["prompts"][name]
    header["machine"]["line"], header["repeat"]


def _check_numbers(found: Measurement) -> None:
    """Refuses what no measurement gives: times that are none, or texts in their place."""
    positive: Sequence[float] = (found.seconds, found.milliseconds_per_forward, *found.turns)
    if not found.turns or not all(math.isfinite(one) and one > 0 for one in positive):
        raise ValueError("a time is not above 0")
    if len(found.ratio_interval) != 2 or len(found.speedup_interval) != 2:
        raise ValueError("an interval has two ends")
