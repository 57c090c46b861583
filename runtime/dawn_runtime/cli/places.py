"""Places that a command writes to, settled and compared before any work."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from dawn_runtime.errors import OptionError
from dawn_runtime.files import Destination, reason_of
from dawn_runtime.manifest import MANIFEST_FILE


def destination(path: Path, flag: str) -> Destination:
    """Settles where a file shall be; another one may be there.

    Args:
        path: What was given.
        flag: What has set it, for the message.

    Raises:
        OptionError: No file can be put there, or it would replace a file of an artifact.
    """
    try:
        found = Destination.of(path)
    except (OSError, ValueError) as error:
        raise OptionError(f"{flag} {path}: {reason_of(error)}") from error
    if not found.streams and found.path.exists() and (found.path.parent / MANIFEST_FILE).exists():
        raise OptionError(f"{flag} {path}: is a file of an artifact; give another place")
    return found


def check_apart(outputs: Mapping[str, Path], inputs: Mapping[str, Path]) -> None:
    """Refuses to write one file twice, or over what is read.

    Args:
        outputs: What each is called in messages, such as its flag, and where it is written.
        inputs: The same of what is read.

    Raises:
        OptionError: Two of them are one file; pipes and devices may be.
    """
    seen: list[tuple[str, Path]] = list(inputs.items())
    for name, path in outputs.items():
        for other, place in seen:
            if _is_same(path, place):
                raise OptionError(
                    f"{name} {path}: is the same file as {other} {place}; give another"
                )
        seen.append((name, path))


def given(paths: Iterable[tuple[str, Path | None]]) -> dict[str, Path]:
    """Returns those places that are given, by name."""
    return {name: path for name, path in paths if path is not None}


def _is_same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second) and first.is_file()
    except OSError:  # one of them is yet to be made
        return os.path.realpath(first) == os.path.realpath(second)
