"""Everything this package raises on purpose, under the root of the runtime's tree.

    DawnError
    └── ExportError            an export that cannot be done or was not good enough
        ├── SourceError        the checkpoint cannot be read; the cause is a `CheckpointError`
        ├── OutputError        the output folder exists, is not ours, or cannot be written
        └── VerificationError  the exported graph does not compute what the checkpoint does

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


class VerificationError(ExportError):
    """The exported graph differs from the checkpoint by more than the tolerance.

    Attributes:
        verification: All differences.
    """

    def __init__(self, verification: Verification) -> None:
        self.verification = verification
        worst = max(verification.failures, key=lambda entry: entry.largest / entry.tolerance)
        super().__init__(
            f"verification failed: {worst.output} differs by {worst.largest:.1e} in case "
            f"{worst.case!r}, at most {worst.tolerance:.0e} is accepted; no artifact was written"
        )
