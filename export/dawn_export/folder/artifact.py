"""The output folder: written aside, then put in place in one step.

A new artifact grows in a hidden folder beside its place, ``.<name>.<random>.partial``, and takes
its name when it is complete and on disk. Whatever ends the export before that, an old artifact
stays as it was; the folder goes away, at the latest when the next export to this place starts.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dawn_export.errors import OutputError
from dawn_export.folder.exchange import exchange
from dawn_export.folder.leftovers import Staging, clear_leftovers, locked, new_staging, old_name
from dawn_export.progress import stage
from dawn_runtime.artifact import read_manifest
from dawn_runtime.engine.tensorrt.plans import TIMING_CACHE, plan_files
from dawn_runtime.errors import ArtifactError
from dawn_runtime.files import reason_of
from dawn_runtime.manifest import CARD_FILE, MANIFEST_FILE


def check_output(output: Path, *, force: bool) -> None:
    """Refuses a place where an artifact may not be put.

    An absent or empty folder is always fine, an artifact of ours with `force`; nothing else is
    ever replaced.

    Raises:
        OutputError: Something stands there that must stay.
    """
    if output == output.parent:
        raise OutputError(f"{output}: is the root of all folders; give --output a new folder")
    if not output.exists():
        _check_room(output)
        return
    if _is_mounted(output):
        raise OutputError(
            f"{output}: is a place where a disk is mounted, which no new folder can replace; give "
            f"a folder inside of it, such as {output / 'artifact'}"
        )
    if not output.is_dir():
        raise OutputError(
            f"{output}: is {'a file' if output.is_file() else 'a pipe or a device'}; give --output "
            "the name of a new folder"
        )
    _check_room(output)
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


def _is_mounted(folder: Path) -> bool:
    """Tells whether a file system begins at a folder, one that is bound there too.

    Such a folder keeps its name whatever happens; containers are given theirs in this way.
    """
    if folder.is_mount():
        return True
    try:  # which lists what is bound from elsewhere on the same disk
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # no Linux
        return False
    name = re.sub(r"[ \t\n\\]", lambda found: f"\\{ord(found[0]):03o}", str(folder))
    return any(line.split(" ")[4:5] == [name] for line in mounts.split("\n"))


def _check_room(output: Path) -> None:
    """Refuses a place beside which no folder can be made, or whose name cannot be had."""
    above = next(folder for folder in output.parents if folder.exists())
    # The name that it has while it is written is longer than its own. A trial that a kill leaves
    # behind is a leftover like others, and whoever clears those may be faster than we are.
    trial = above / f".{output.name}.{secrets.token_hex(4)}.partial"
    try:
        trial.mkdir()
        with suppress(FileNotFoundError):
            trial.rmdir()
    except OSError as error:
        raise OutputError(
            f"{output}: {above} cannot be written to: {reason_of(error)}; choose another place"
        ) from error


def _own_files(folder: Path) -> set[str]:
    """What belongs to the artifact in a folder: manifest, what that lists, card, and plans."""
    path = folder / MANIFEST_FILE
    if not path.exists():
        return set()
    try:
        files = read_manifest(folder).files
    except ArtifactError as error:
        raise OutputError(
            f"{path}: not a manifest that this version reads; choose another folder, or remove "
            "this one yourself"
        ) from error
    return {MANIFEST_FILE, CARD_FILE, *files, *plan_files(folder)}


@contextmanager
def staged(output: Path, *, force: bool = False) -> Iterator[Path]:
    """Gives a new folder to write an artifact into; it takes its place when the block ends.

    Of an artifact that it replaces it takes the timing cache along.

    Args:
        output: Where the artifact shall be; missing folders above it are made.
        force: Whether an artifact that is there may be replaced.

    Raises:
        OutputError: `output` may not or cannot be written to, the disk is full, or another export
            is about to.
    """
    output = Path(os.path.realpath(output))
    check_output(output, force=force)
    above = [folder for folder in output.parents if not folder.exists()]
    try:
        staging = _claim(output, force=force)
        try:
            yield staging.folder
            _carry_over(output, staging.folder)
            with stage("syncing", "waiting until everything is on the disk"):
                _sync(staging.folder)
            _put_in_place(staging.folder, output, force=force)
        except OSError as error:
            raise OutputError(_unwritten(output, error)) from error
        finally:
            # The artifact that was replaced, or the one that was not finished.
            shutil.rmtree(staging.folder, ignore_errors=True)
            os.close(staging.descriptor)
    except BaseException:
        for parent in above:
            with suppress(OSError):  # someone else has put something into it meanwhile
                parent.rmdir()
        raise


def _unwritten(output: Path, error: OSError) -> str:
    """Says why an artifact could not be written, whichever of its files it was."""
    name = f" for {Path(error.filename).name}" if isinstance(error.filename, str) else ""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{output}: the disk is full ({reason}{name}); make room or choose another disk"
    return f"{output}: cannot be written ({reason}{name}); check the disk or choose another one"


def _claim(output: Path, *, force: bool) -> Staging:
    """Clears the place of what killed exports left, and takes it."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with locked(output.parent):
            clear_leftovers(output)
            check_output(output, force=force)
            return new_staging(output)
    except OSError as error:
        raise OutputError(f"{output.parent}: cannot be written to: {error.strerror}") from error


def _carry_over(old: Path, new: Path) -> None:
    """Copies what belongs to the machine and not to the weights: measured times of kernels.

    TensorRT knows itself whether they are those of its version, the GPU and the driver.
    """
    if (old / TIMING_CACHE).is_file():
        shutil.copyfile(old / TIMING_CACHE, new / TIMING_CACHE)


def _sync(folder: Path) -> None:
    """Waits until the files and their names are on disk."""
    for path in [*folder.iterdir(), folder]:
        _sync_path(path)


def _sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put_in_place(folder: Path, output: Path, *, force: bool) -> None:
    """Gives a finished folder its name; an old artifact has the folder's name afterwards, or none.

    Where names cannot be swapped there is a moment without `output`; an export that is killed in it
    leaves the old artifact for the next one to put back.
    """
    with locked(output.parent):
        check_output(output, force=force)
        if not output.exists() or not any(output.iterdir()):
            folder.replace(output)
        elif not exchange(folder, output):
            _replace_in_two_steps(folder, output)
        _sync_path(output.parent)


def _replace_in_two_steps(folder: Path, output: Path) -> None:
    old = old_name(folder)
    output.rename(old)
    try:
        folder.rename(output)
    except BaseException:
        old.rename(output)
        raise
    shutil.rmtree(old)
