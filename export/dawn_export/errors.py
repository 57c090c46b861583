"""Everything this package raises on purpose, under the root of the runtime's tree.

    DawnError
    └── ExportError               an export that cannot be done or was not good enough
        ├── SourceError           the checkpoint cannot be read; the cause is a `CheckpointError`
        ├── OutputError           the output folder exists, is not ours, or cannot be written
        ├── CalibrationFileError  calibration.json is damaged, or of another model
        ├── PushError             the artifact cannot be put on the Hub
        └── VerificationError     the exported graph does not compute what the checkpoint does

Options with bad values raise the runtime's `OptionError`.
"""

from __future__ import annotations

from dawn_export.report import Verification
from dawn_runtime.errors import DawnError


class ExportError(DawnError):
    """The checkpoint cannot be exported as asked; the message says why and what to do."""


class SourceError(ExportError):
    """The checkpoint is missing, malformed, unsupported or unsafe to read."""


class OutputError(ExportError):
    """The output folder exists, is not an artifact of ours, or cannot be written."""


class CalibrationFileError(ExportError):
    """A calibration file is missing, malformed or was made for another model."""


class PushError(ExportError):
    """The artifact cannot be put on the Hub: no token, no way, no permission, or it broke off."""


class VerificationError(ExportError):
    """The artifact differs from the checkpoint: in a weight, or by more than the tolerance.

    Args:
        verification: All differences.
        advice: What else to do than to look at them, if anything.

    Attributes:
        verification: All differences.
    """

    def __init__(self, verification: Verification, advice: str = "") -> None:
        self.verification = verification
        also = f"; {advice}" if advice else ""
        super().__init__(
            f"verification failed: {_worst(verification)}{also}; no artifact was written"
        )


def _worst(verification: Verification) -> str:
    differing = verification.values.differing
    if differing:
        name = max(differing, key=differing.__getitem__)
        return (
            f"{differing[name]} values of weight {name}{_and_more(len(differing))} differ from the "
            "checkpoint; check the disk, export again"
        )
    worst = max(verification.failures, key=lambda entry: entry.largest / entry.tolerance)
    return (
        f"{worst.output} differs by {worst.largest:.1e} in case {worst.case!r}, "
        f"at most {worst.tolerance:.1e} is accepted"
    )


def _and_more(count: int) -> str:
    return f" (and of {count - 1} more)" if count > 1 else ""
