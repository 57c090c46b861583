"""What an export has to tell: numbers for people and for `--json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dawn_runtime._version import __version__

VERIFICATION_FILE = "verification.json"
"""The result of `--verify`, kept in the artifact."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How far one output of the graph is from the checkpoint in one case.

    Attributes:
        case: What was run.
        output: Which output.
        largest: Largest difference of a value; `verification.computed_outputs` tells its unit.
        tolerance: Largest one that is accepted.
    """

    case: str
    output: str
    largest: float
    tolerance: float

    @property
    def accepted(self) -> bool:
        """Whether the difference is within the tolerance; NaN is not."""
        return self.largest <= self.tolerance


@dataclass(frozen=True, slots=True)
class ValueCheck:
    """Comparison of the written weights with those of the checkpoint.

    Attributes:
        mode: `all` or `sample`; see `dawn_export.verification.written_weights`.
        tensors: How many of the checkpoint's were compared.
        values: How many of their values were compared.
        differing: Weight -> how many of them differ; empty if all is well.
        rounded: How many of the tensors are integers, which may be half a step off.
    """

    mode: str
    tensors: int
    values: int
    differing: Mapping[str, int]
    rounded: int = 0

    def line(self) -> str:
        """One line for people."""
        what = f"{self.values:,} values of {self.tensors} weights read back"
        drawn = " (a sample)" if self.mode == "sample" else ""
        if self.rounded:
            drawn += f", {self.rounded} of them integers, up to half a step off"
        if not self.differing:
            return f"{what}{drawn}: all as in the checkpoint"
        return f"{what}{drawn}: {sum(self.differing.values()):,} differ"


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """Comparison of what graph and checkpoint compute.

    Attributes:
        layers: How many layers were run, from the first one on, under the real head; 0 is none.
        of_layers: How many the model has.
        differences: One entry for each case and output.
        reason: Why not all layers were run; None if they were.
    """

    layers: int
    of_layers: int
    differences: tuple[Difference, ...]
    reason: str | None = None

    def line(self) -> str:
        """One line for people."""
        if self.reason is None:
            return f"run end to end: {self.layers} layers"
        return f"run end to end: {self.layers} of {self.of_layers} layers; {self.reason}"

    def table(self) -> str:
        """A row for each case, a column for each output, the tolerances below."""
        outputs = list(dict.fromkeys(entry.output for entry in self.differences))
        cases = list(dict.fromkeys(entry.case for entry in self.differences))
        found = {(entry.case, entry.output): entry for entry in self.differences}
        tolerances = {entry.output: entry.tolerance for entry in self.differences}
        rows = [["largest difference", *outputs]]
        rows += [[case, *(_cell(found.get((case, name))) for name in outputs)] for case in cases]
        rows += [["tolerance", *(f"{tolerances[name]:.1e}" for name in outputs)]]
        return "\n".join(_line(row) for row in rows)


@dataclass(frozen=True, slots=True)
class Verification:
    """Comparison of an artifact with its checkpoint.

    Attributes:
        values: Its weights.
        end_to_end: What it computes.
    """

    values: ValueCheck
    end_to_end: EndToEnd

    @property
    def failures(self) -> tuple[Difference, ...]:
        """The differences beyond their tolerance."""
        return tuple(entry for entry in self.end_to_end.differences if not entry.accepted)

    @property
    def accepted(self) -> bool:
        """Whether nothing that was compared differs."""
        return not self.values.differing and not self.failures

    def to_json(self) -> str:
        """The text that is kept in the artifact."""
        return json.dumps({"dawn_edge_version": __version__, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Verification:
        """Reads what `to_json` gives.

        Raises:
            ValueError: It is something else.
        """
        try:
            document = json.loads(text)
            whole = document["end_to_end"]
            found = tuple(Difference(**entry) for entry in whole["differences"])
            return cls(
                ValueCheck(**document["values"]), EndToEnd(**{**whole, "differences": found})
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"no report of a verification ({error})") from error

    def text(self) -> str:
        """Lines for people."""
        lines = [self.values.line(), self.end_to_end.line()]
        return "\n".join(
            [*lines, *([self.end_to_end.table()] if self.end_to_end.differences else [])]
        )


def _cell(entry: Difference | None) -> str:
    if entry is None:
        return "-"
    return f"{entry.largest:.1e}" + ("" if entry.accepted else " !")


def _line(cells: list[str]) -> str:
    return cells[0].ljust(20) + "".join(cell.rjust(13) for cell in cells[1:])


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was exported.

    Attributes:
        output: Folder of the artifact.
        family: Model family.
        dialect: Dialect of the graph.
        precision: Precision of the weights.
        parameters: How many numbers the weights are.
        size_bytes: Size of all files together.
        seconds: Time from the first check to the artifact in its place.
        vanished: Parameter -> how many of its values became zero in a smaller type.
        overflowed: Parameter -> how many of its values the largest of a smaller type stands for.
        warnings: What the artifact lacks, in one line each.
        verification: Result of the comparison; None if none was asked for.
        mask_token: Id of the mask, and where it was found.
    """

    output: Path
    family: str
    dialect: str
    precision: str
    parameters: int
    size_bytes: int
    seconds: float
    vanished: Mapping[str, int]
    overflowed: Mapping[str, int]
    warnings: tuple[str, ...]
    verification: Verification | None = None
    mask_token: str = ""

    def to_dict(self) -> dict[str, object]:
        """The report as JSON carries it."""
        return {**asdict(self), "output": str(self.output)}

    def summary(self) -> str:
        """One line for people."""
        return (
            f"{self.family}, {self.parameters:,} parameters, {self.precision}, {self.dialect} -> "
            f"{self.output} ({self.size_bytes / 1e6:.1f} MB in {self.seconds:.1f} s)"
        )
