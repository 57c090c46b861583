"""Artifacts that lie in the cache of the Hugging Face Hub, found without its client.

    hf download org/name                      # once, with the Hub's own tools
    Decoder.open("org/name")                  # from the cache, never from the network
    Decoder.open("org/name@v1.0")             # a branch, a tag or a commit

The cache is where those tools have it: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else in
`~/.cache/huggingface` (`XDG_CACHE_HOME`). It has a folder for each repository::

    models--org--name/refs/main               a commit
    models--org--name/snapshots/<commit>/     the files, links into
    models--org--name/blobs/                  where they really are
"""

import os
import re
from pathlib import Path
from typing import Final

from dawn_runtime.errors import ArtifactError

_PART: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_REPOSITORY: Final = re.compile(rf"({_PART})/({_PART})(?:@([A-Za-z0-9][A-Za-z0-9._/-]{{0,199}}))?")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_MOST_REF_BYTES: Final = 100


def cache_folder() -> Path:
    """Returns where the Hub's tools keep what they download."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{base}/huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()


def located(folder: Path) -> Path:
    """Returns the folder of an artifact, given itself or as a repository of the Hub.

    Args:
        folder: A path, or `org/name` or `org/name@revision` where there is no such path. The folder
            of a repository in the cache stands for the commit of its branch `main`.

    Raises:
        ArtifactError: The repository, or the revision of it, is not in the cache.
    """
    if (folder / "snapshots").is_dir() and (folder / "refs").is_dir():
        return _snapshot(folder, "main", str(folder))
    found = _REPOSITORY.fullmatch(str(folder))
    if found is None or folder.exists() or folder.is_symlink():
        return folder
    owner, name, revision = found.groups()
    place = cache_folder() / f"models--{owner}--{name}"
    if not place.is_dir():
        raise ArtifactError(
            f"{folder}: no such folder, and no repository in the cache {cache_folder()}; make an "
            f"artifact with dawn-export, or run 'hf download {owner}/{name}' first"
        )
    return _snapshot(place, revision or "main", f"{owner}/{name}")


def _snapshot(place: Path, revision: str, name: str) -> Path:
    """The folder of a commit, or of what a branch or tag stands for."""
    commit = revision if _COMMIT.fullmatch(revision) else _commit_of(place, revision)
    if commit is not None and (place / "snapshots" / commit).is_dir():
        return place / "snapshots" / commit
    raise ArtifactError(
        f"{name}: revision {revision!r} is not in the cache {place}; run 'hf download {name} "
        f"--revision {revision}' first"
    )


def _commit_of(place: Path, revision: str) -> str | None:
    if ".." in revision.split("/"):
        return None
    try:
        with (place / "refs" / revision).open("rb") as file:
            text = file.read(_MOST_REF_BYTES).decode("ascii", "replace").strip()
    except OSError:
        return None
    return text if _COMMIT.fullmatch(text) else None
