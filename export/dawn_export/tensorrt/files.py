"""Files beside an artifact that appear under their name complete, or not at all."""

from __future__ import annotations

from pathlib import Path

from dawn_export.errors import ExportError
from dawn_runtime.engine.tensorrt_plans import partial_name


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Writes a file aside and gives it its name; whatever ends that leaves nothing.

    Raises:
        ExportError: It cannot be written.
    """
    partial = path.with_name(partial_name(path.name))
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise ExportError(f"{path}: cannot be written: {error.strerror}; free disk") from error
    finally:
        partial.unlink(missing_ok=True)
