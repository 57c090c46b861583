"""Downloads from the Hugging Face Hub, and what to do when there is none to be had.

Everything about them is the business of `huggingface_hub`: its cache, its token (`hf auth login`,
`HF_TOKEN`), its mirrors (`HF_ENDPOINT`) and its offline mode (`HF_HUB_OFFLINE`) work as everywhere.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from dawn_export.errors import SourceError
from dawn_export.folder.disk import free_bytes, lacking
from dawn_export.progress import stage
from dawn_runtime import __version__
from dawn_runtime.native import importing

_SUBFOLDERS = "*/*"
"""Other formats of the same weights; a pattern of the Hub matches across slashes."""


def download(
    repository: str,
    revision: str | None,
    patterns: Sequence[str],
    *,
    progress: bool,
    subfolder: str = "",
) -> Path:
    """Brings files of one folder of a repository into the cache and returns the top folder.

    The folder is named after the commit; the files in it may be links into the cache. Nothing is
    fetched if what the cache lacks does not fit its disk.

    Args:
        repository: `OWNER/NAME`.
        revision: Branch, tag or commit; None is the default branch.
        patterns: Which files, as shell patterns; names of files alone in a subfolder.
        progress: Whether to show progress bars and notes of the Hub on standard error.
        subfolder: Which folder they are in; the top one if empty.

    Raises:
        SourceError: There is no way to the files, or no room for them.
        DependencyError: huggingface_hub is not installed.
    """
    remedy = "pip install 'dawn-edge[export]', or give a local folder"
    with importing(f"{repository}: downloads need", "huggingface_hub", remedy):
        from huggingface_hub import snapshot_download
    snapshot = partial(
        snapshot_download,
        repository,
        revision=revision,
        allow_patterns=[f"{subfolder}/{name}" if subfolder else name for name in patterns],
        ignore_patterns=None if subfolder else _SUBFOLDERS,
        library_name="dawn-edge",
        library_version=__version__,
    )
    bars = None if progress else no_bars()
    with notes(shown=progress):
        with _explained(repository, revision):
            missing = _missing_bytes(snapshot)
        _check_room(repository, missing)
        doing = f"fetching {missing / 1e6:.1f} MB of {repository}"
        with (
            _explained(repository, revision),
            stage("fetching", doing) if missing else nullcontext(),
        ):
            return Path(snapshot(tqdm_class=bars))


@contextmanager
def _explained(repository: str, revision: str | None) -> Iterator[None]:
    """The one place where the errors of the download become ours."""
    try:
        yield
    except Exception as error:  # what its HTTP library raises changes from version to version
        advice = _advice(error, repository, revision)
        raise SourceError(f"{repository}: {advice}") from error


def _missing_bytes(snapshot: Callable[..., Any]) -> int:
    """Bytes that a download will fetch; none where the Hub cannot be asked.

    The download itself then finds everything in the cache, or says why it cannot.
    """
    from huggingface_hub.errors import DryRunError

    try:
        files = snapshot(dry_run=True, tqdm_class=no_bars())
    except DryRunError:
        return 0
    return sum(file.file_size or 0 for file in files if file.will_download)


def _check_room(repository: str, needed: int) -> None:
    """Refuses a download that does not fit the disk of the cache."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    free = free_bytes(cache)
    if needed > free:
        raise SourceError(
            f"{repository}: {lacking('the download', needed, free)} in {cache}, or set HF_HOME to "
            "another disk"
        )


def _advice(error: Exception, repository: str, revision: str | None) -> str:
    """Says in one line what happened and what to do."""
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{repository}"
    known = {  # the first that fits: a gated repository counts as one that is not found
        errors.GatedRepoError: f"the repository is gated; accept its terms at {page}, then log in "
        "with 'hf auth login' or set HF_TOKEN",
        errors.RepositoryNotFoundError: "neither a local folder nor a repository that the Hub "
        "shows us; check the spelling, or log in with 'hf auth login' if it is private",
        errors.RevisionNotFoundError: f"it has no revision {revision!r}; choose one of those that "
        f"{page}/tree/main lists",
        errors.HFValidationError: "neither a local folder nor an id of the Hub; expected "
        "OWNER/NAME with letters, digits and single - _ . between them",
    }
    for kind, advice in known.items():
        if isinstance(error, kind):
            return advice
    if isinstance(error, errors.LocalEntryNotFoundError):
        return _unreachable(error, offline=bool(constants.HF_HUB_OFFLINE))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        cache = constants.HF_HUB_CACHE
        return f"the disk is full; make room in {cache}, or set HF_HOME to another disk"
    return f"the download broke off ({summary(error)}); run it again, what has arrived is kept"


def _unreachable(error: Exception, *, offline: bool) -> str:
    """Why files are neither in the cache nor to be had."""
    if offline:
        return (
            "no such local folder, not complete in the local cache, and HF_HUB_OFFLINE keeps us "
            "from the Hub; unset it, or give a local folder"
        )
    return (
        f"no such local folder, and the Hub cannot be reached "
        f"({summary(error.__cause__ or error)}) for what the local cache lacks; check the "
        "spelling and the network"
    )


def summary(error: BaseException) -> str:
    """Returns what an error is and the first line of what it says."""
    first_line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first_line}"


def no_bars() -> type[Any]:
    """A progress bar that is never shown."""
    from tqdm import tqdm

    class NoBar(tqdm):  # type: ignore[type-arg]  # generic in its stubs alone
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})

    return NoBar


@contextmanager
def notes(*, shown: bool) -> Iterator[None]:
    """Keeps back the warnings that huggingface_hub logs, unless they are wanted."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    if not shown:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
