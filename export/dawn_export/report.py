"""What an export has to tell: numbers for people and for `--json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Difference:
    """How far one output of the graph is from the checkpoint in one case.

    Attributes:
        case: What was run.
        output: Which output.
        largest: Largest difference of a value; see `dawn_export.verify` for its unit.
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
class Verification:
    """Comparison of the exported graph with the checkpoint.

    Attributes:
        differences: One entry for each case and output.
    """

    differences: tuple[Difference, ...]

    @property
    def failures(self) -> tuple[Difference, ...]:
        """The differences beyond their tolerance."""
        return tuple(entry for entry in self.differences if not entry.accepted)

    def table(self) -> str:
        """A row for each case, a column for each output, the tolerances below."""
        outputs = list(dict.fromkeys(entry.output for entry in self.differences))
        cases = list(dict.fromkeys(entry.case for entry in self.differences))
        found = {(entry.case, entry.output): entry for entry in self.differences}
        tolerances = {entry.output: entry.tolerance for entry in self.differences}
        rows = [["largest difference", *outputs]]
        rows += [[case, *(_cell(found.get((case, name))) for name in outputs)] for case in cases]
        rows += [["tolerance", *(f"{tolerances[name]:.0e}" for name in outputs)]]
        return "\n".join(_line(row) for row in rows)


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
        warnings: What the artifact lacks, in one line each.
        verification: Result of the comparison; None if none was asked for.
    """

    output: Path
    family: str
    dialect: str
    precision: str
    parameters: int
    size_bytes: int
    seconds: float
    vanished: Mapping[str, int]
    warnings: tuple[str, ...]
    verification: Verification | None = None

    def to_dict(self) -> dict[str, object]:
        """The report as JSON carries it."""
        return {**asdict(self), "output": str(self.output)}

    def summary(self) -> str:
        """One line for people."""
        return (
            f"{self.family}, {self.parameters:,} parameters, {self.precision}, {self.dialect} -> "
            f"{self.output} ({self.size_bytes / 1e6:.1f} MB in {self.seconds:.1f} s)"
        )
