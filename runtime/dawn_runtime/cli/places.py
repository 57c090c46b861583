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
        OptionError: No file can be put there, or it would replace a file of an artifact or a
            checkpoint.
    """
    try:
        found = Destination.of(path)
    except (OSError, ValueError) as error:
        raise OptionError(f"{flag} {path}: {reason_of(error)}") from error
    model = None if found.streams or not found.path.exists() else _model_of(found.path)
    if model is not None:
        raise OptionError(f"{flag} {path}: is a file of {model}; give another place")
    return found


def _model_of(path: Path) -> str | None:
    """Says what a file that is there belongs to, if it is what nobody can make again in a hurry."""
    folder = path.parent
    if (folder / MANIFEST_FILE).exists():
        return "an artifact"
    is_checkpoint = (folder / "config.json").exists() and any(folder.glob("*.safetensors"))
    return "a checkpoint" if is_checkpoint else None


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
