"""Files beside an artifact that appear under their name complete, or not at all."""

from __future__ import annotations

from pathlib import Path

from dawn_export.errors import ExportError
from dawn_runtime import files
from dawn_runtime.files import reason_of


def write_whole(path: Path, data: str | bytes | memoryview) -> None:
    """Writes a file as `dawn_runtime.files.write_whole` does, with the errors of this package.

    Raises:
        ExportError: It cannot be written.
    """
    try:
        files.write_whole(path, data)
    except (OSError, ValueError) as error:
        raise ExportError(f"{path}: cannot be written: {reason_of(error)}; free disk") from error
