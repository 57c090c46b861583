"""The output folder: written aside, then put in place in one step.

A new artifact grows in a hidden folder beside its place, ``.<name>.<random>.partial``, and is
renamed when it is complete and on disk. Whatever ends the export before that, the folder goes
away, and an old artifact stays as it was.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dawn_export.errors import OutputError
from dawn_runtime.errors import ArtifactError
from dawn_runtime.manifest import MANIFEST_FILE, Manifest


def check_output(output: Path, *, force: bool) -> None:
    """Refuses a place where an artifact may not be put.

    An absent or empty folder is always fine, an artifact of ours with `force`; nothing else is
    ever replaced.

    Raises:
        OutputError: Something stands there that must stay.
    """
    if not output.exists():
        return
    if not output.is_dir():
        raise OutputError(f"{output}: is a file; give --output the name of a new folder")
    present = {path.name for path in output.iterdir()}  # an artifact has no folders
    if not present:
        return
    foreign = present - _own_files(output)
    if foreign:
        raise OutputError(
            f"{output}: holds {min(foreign)}, which dawn-export did not write; "
            "choose another folder"
        )
    if not force:
        raise OutputError(f"{output}: an artifact is there already; --force replaces it")


def _own_files(folder: Path) -> set[str]:
    """What belongs to the artifact in a folder: its manifest and the files that one lists."""
    path = folder / MANIFEST_FILE
    if not path.exists():
        return set()
    try:
        files = Manifest.from_json(path.read_text(encoding="utf-8")).files
    except (OSError, ValueError, ArtifactError) as error:
        raise OutputError(
            f"{path}: not a manifest that this version reads; choose another folder, or remove "
            "this one yourself"
        ) from error
    return {MANIFEST_FILE, *files}


@contextmanager
def staged(output: Path, *, force: bool = False) -> Iterator[Path]:
    """Gives a new folder to write an artifact into; it takes its place when the block ends.

    Args:
        output: Where the artifact shall be; missing folders above it are made.
        force: Whether an artifact that is there may be replaced.

    Raises:
        OutputError: `output` may not be written to.
    """
    output = output.resolve()
    check_output(output, force=force)
    above = [folder for folder in output.parents if not folder.exists()]
    folder = output.with_name(f".{output.name}.{secrets.token_hex(4)}.partial")
    try:
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise OutputError(f"{folder.parent}: cannot be written to: {error.strerror}") from error
        yield folder
        _sync(folder)
        check_output(output, force=force)
        _put_in_place(folder, output)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        for parent in above:
            with suppress(OSError):  # someone else has put something into it meanwhile
                parent.rmdir()
        raise


def _sync(folder: Path) -> None:
    """Waits until the files and their names are on disk."""
    for path in [*folder.iterdir(), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _put_in_place(folder: Path, output: Path) -> None:
    if not output.exists() or not any(output.iterdir()):
        folder.replace(output)
        return
    old = output.with_name(f"{folder.name}.old")
    output.rename(old)
    try:
        folder.rename(output)
    except BaseException:
        old.rename(output)
        raise
    shutil.rmtree(old)
