"""What a build has to tell."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from dawn_export.tensorrt.inspection import Inspection


@dataclass(frozen=True, slots=True)
class PlanReport:
    """A plan and how it came about.

    Attributes:
        path: The plan.
        builder: What built it, such as `tensorrt 10.3.0`.
        sm: Compute capability it is for.
        profiles: Names of its optimisation profiles.
        size_bytes: Its size.
        seconds: Time to build it; 0 if it was there already.
        reused: Whether it was there already, with the same key.
        inspection: What its layers are; None where no GPU is at hand to load it.
    """

    path: Path
    builder: str
    sm: str
    profiles: tuple[str, ...]
    size_bytes: int
    seconds: float
    reused: bool
    inspection: Inspection | None = None

    def to_dict(self) -> dict[str, object]:
        """The report as JSON carries it."""
        return {**asdict(self), "path": str(self.path)}

    def summary(self) -> str:
        """Lines for people."""
        how = "is up to date" if self.reused else f"built in {self.seconds:.0f} s"
        lines = [
            f"{self.path} ({self.size_bytes / 1e6:.1f} MB, {self.builder}, SM {self.sm}, "
            f"{', '.join(self.profiles)}) {how}"
        ]
        return "\n".join(lines + ([self.inspection.line()] if self.inspection else []))
