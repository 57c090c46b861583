"""Opening an artifact folder: nothing is used before it is checked against the manifest.

Sizes of all files are compared at every opening. Contents are hashed (SHA-256, streamed, about
one second per gigabyte) by default for files up to `HASH_LIMIT_BYTES`, so that a tiny artifact is
verified whole and a 7B one opens at once; `verify="full"` hashes everything.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from dawn_runtime._checks import check_choice, check_path
from dawn_runtime.errors import ArtifactError
from dawn_runtime.manifest import GRAPH_FILE, MANIFEST_FILE, FileEntry, Manifest

HASH_LIMIT_BYTES: Final = 256 * 2**20
"""Largest file that is hashed by default."""

VERIFY_MODES: Final = ("auto", "full", "sizes")
"""`auto` hashes files up to the limit, `full` all files, `sizes` none."""

_CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Artifact:
    """An artifact folder whose files have been checked.

    Attributes:
        folder: Where it is.
        manifest: Content of its `dawn.json`.
    """

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: str | Path, *, verify: str = "auto") -> "Artifact":
        """Reads the manifest and checks the files it lists.

        Args:
            folder: Folder written by `dawn-export`.
            verify: One of `VERIFY_MODES`.

        Raises:
            ArtifactError: The folder, the manifest or a file is missing, altered or too new.
            OptionError: Unknown verify mode, or `folder` is no path.
        """
        check_choice("artifact", "verify", verify, VERIFY_MODES)
        folder = check_path("artifact", "folder", folder)
        artifact = cls(folder, read_manifest(folder))
        if GRAPH_FILE not in artifact.manifest.files:
            raise ArtifactError(f"{folder}: {MANIFEST_FILE} lists no {GRAPH_FILE}; export again")
        limit = {"auto": HASH_LIMIT_BYTES, "full": None, "sizes": -1}[verify]
        for name, entry in artifact.manifest.files.items():
            check_file(artifact.path(name), entry, hash_limit=limit)
        return artifact

    def has(self, name: str) -> bool:
        """Tells whether the manifest lists a file of this name."""
        return name in self.manifest.files

    def path(self, name: str) -> Path:
        """Returns the path of a listed file.

        Raises:
            ArtifactError: The manifest does not list the file, or it lies outside the folder.
        """
        if not self.has(name):
            raise ArtifactError(f"{self.folder}: the artifact has no file {name!r}; export again")
        path = self.folder / name
        plain = not PurePosixPath(name).is_absolute() and ".." not in Path(name).parts
        if not plain or not path.resolve().is_relative_to(self.folder.resolve()):
            raise ArtifactError(
                f"{self.folder}: file {name!r} of {MANIFEST_FILE} lies outside the folder; "
                "export again and do not edit the manifest"
            )
        return path


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file as 64 hex digits, reading it in chunks of one megabyte."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of an artifact folder without looking at the files it lists.

    Raises:
        ArtifactError: The folder is no artifact, or its manifest is malformed or too new.
    """
    path = folder / MANIFEST_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ArtifactError(_unreadable(folder, error)) from error
    return Manifest.from_json(text, str(path))


def _unreadable(folder: Path, error: Exception) -> str:
    """Says what stands where an artifact was expected."""
    if not folder.exists():
        return f"{folder}: no such folder; make an artifact with dawn-export"
    if not folder.is_dir():
        return f"{folder}: is a file; expected the folder that dawn-export wrote"
    if (folder / MANIFEST_FILE).exists():
        return f"{folder / MANIFEST_FILE}: cannot be read ({error}); export again"
    if (folder / GRAPH_FILE).exists():
        return (
            f"{folder}: holds {GRAPH_FILE} but no {MANIFEST_FILE}, an incomplete artifact; copy "
            "the whole folder again, or export into another"
        )
    if any(folder.glob("*.safetensors")):
        return f"{folder}: is a checkpoint, not an artifact; run dawn-export --model {folder} first"
    return f"{folder}: holds no {MANIFEST_FILE}; expected the folder that dawn-export wrote"


def check_file(path: Path, entry: FileEntry, *, hash_limit: int | None) -> None:
    """Compares one file with its entry in the manifest.

    Args:
        path: The file.
        entry: What the manifest says of it.
        hash_limit: Largest size in bytes that is hashed; None hashes any file.

    Raises:
        ArtifactError: The file is missing, or has another size or content.
    """
    if not path.is_file():
        raise ArtifactError(f"{path}: the file is missing; copy the whole folder or export again")
    size = path.stat().st_size
    if size != entry.size:
        kind = "truncated" if size < entry.size else "altered"
        raise ArtifactError(
            f"{path}: the file is {kind}, {size} bytes instead of {entry.size}; "
            "copy it again or export again"
        )
    if (hash_limit is None or size <= hash_limit) and sha256_of(path) != entry.sha256:
        raise ArtifactError(
            f"{path}: the content does not have the SHA-256 recorded in {MANIFEST_FILE}; "
            "one of the two was altered, export again"
        )
