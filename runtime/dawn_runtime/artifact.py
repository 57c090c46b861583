"""Opening an artifact folder: nothing is used before it is checked against the manifest.

Sizes of all files are compared at every opening. Contents are hashed (SHA-256, streamed, about
one second per gigabyte) by default for files up to `HASH_LIMIT_BYTES`, so that a tiny artifact is
verified whole and a 7B one opens at once; `verify="full"` hashes everything.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dawn_runtime._fields import read_text
from dawn_runtime.checks import check_choice, check_path
from dawn_runtime.errors import ArtifactError
from dawn_runtime.files import is_plain_name, open_plain, reason_of, stray_link
from dawn_runtime.hub_cache import located
from dawn_runtime.manifest import (
    MANIFEST_FILE,
    STEP,
    TEMPLATE_FILE,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    FileEntry,
    Manifest,
)

HASH_LIMIT_BYTES: Final = 256 * 2**20
"""Largest file that is hashed by default."""

VERIFY_MODES: Final = ("auto", "full", "sizes")
"""`auto` hashes files up to the limit, `full` all files, `sizes` none."""

MAX_MANIFEST_BYTES: Final = 4 * 2**20
"""Largest `dawn.json`; one of 100 layers has 60 KiB."""

_TEXTS: Final = {
    TOKENIZER_FILE: 256 * 2**20,
    TOKENIZER_CONFIG_FILE: 64 * 2**20,
    TEMPLATE_FILE: 4 * 2**20,
}
"""Small files that are read to decode, if there are any -> most bytes they may have."""

_MOST_GRAPH_BYTES: Final = 2**31 - 1
"""All that the format of a graph can hold."""

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
            folder: Folder written by `dawn-export`, or `org/name` of one in the cache of the
                Hugging Face Hub, see `dawn_runtime.hub_cache`.
            verify: One of `VERIFY_MODES`.

        Raises:
            ArtifactError: The folder, the manifest or a file is missing, altered or too new.
            OptionError: Unknown verify mode, or `folder` is no path.
        """
        check_choice("artifact", "verify", verify, VERIFY_MODES)
        folder = located(check_path("artifact", "folder", folder))
        artifact = cls(folder, read_manifest(folder))
        limit = {"auto": HASH_LIMIT_BYTES, "full": None, "sizes": -1}[verify]
        for problem in artifact.problems(limit):
            raise problem
        return artifact

    def problems(self, hash_limit: int | None) -> Iterator[ArtifactError]:
        """Finds everything that is wrong with the files; opening stops at the first.

        Args:
            hash_limit: Largest size in bytes that is hashed; None hashes any file.
        """
        needed = self._graph_files()
        for name in (*needed, *_TEXTS):
            if self.has(name):
                continue
            if name in needed:
                yield ArtifactError(f"{self.folder}: {MANIFEST_FILE} lists no {name}; export again")
            elif (self.folder / name).exists() or (self.folder / name).is_symlink():
                yield ArtifactError(
                    f"{self.folder / name}: is there, but {MANIFEST_FILE} does not list it, so "
                    "nothing tells whether it is the right one; remove it or export again"
                )
        for name in self.manifest.files:
            problem = self._problem(name, hash_limit)
            if problem is not None:
                yield problem
        for graph in self.manifest.graphs.values():
            yield from self._strays(self.folder / graph.file)

    def _strays(self, graph: Path) -> Iterator[ArtifactError]:
        """Finds the files that a graph takes weights from and that nobody vouches for."""
        for stray in sorted(_places_of_weights(graph) - set(self.manifest.files)):
            yield ArtifactError(
                f"{graph}: takes weights from {stray!r:.80}, which {MANIFEST_FILE} does not list; "
                "export again"
            )

    def _problem(self, name: str, hash_limit: int | None) -> ArtifactError | None:
        entry, limit = self.manifest.files[name], {**_TEXTS, **self._graph_files()}.get(name)
        try:
            check_file(self.path(name), entry, hash_limit=hash_limit, limit=limit)
        except ArtifactError as error:
            return error
        return None

    def _graph_files(self) -> dict[str, int | None]:
        """Files of all graphs -> most bytes they may have."""
        graphs = self.manifest.graphs.values()
        data: dict[str, int | None] = {graph.data: None for graph in graphs}
        return {graph.file: _MOST_GRAPH_BYTES for graph in graphs} | data

    def graph(self, name: str = STEP) -> Path:
        """Returns the path of a graph; its weights lie beside it.

        Raises:
            ArtifactError: The manifest lists no such file, or it lies outside the folder.
        """
        return self.path(self.manifest.graphs[name].file)

    def read_text(self, name: str) -> str:
        """Returns the text of one of the small files that decoding reads.

        Raises:
            ArtifactError: The manifest does not list it, or it is no text.
        """
        return read_text(self.path(name), _TEXTS[name])

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
        return inside(self.folder, name, MANIFEST_FILE)


_PLACE: Final = re.compile(rb"\x0a\x08location(?:\x12([\x00-\x7f]))?")
"""Where a tensor of ONNX lies outside of its graph: `location`, then a length and a name."""


def _places_of_weights(graph: Path) -> set[str]:
    """Names of the files that a graph takes weights from; none if it cannot be read."""
    try:
        with open_plain(graph) as file:
            content = file.read(HASH_LIMIT_BYTES)
    except (OSError, ValueError):  # told by whoever checks it
        return set()
    found = set()
    for place in _PLACE.finditer(content):
        size = place[1][0] if place[1] else 0  # a name that is too long or elsewhere is not known
        found.add(content[place.end() : place.end() + size].decode(errors="replace"))
    return found


def inside(folder: Path, name: str, source: str) -> Path:
    """Returns the path of a file that has to lie in a folder.

    Links into the blobs of the Hugging Face cache that the folder belongs to are its own.

    Args:
        folder: The folder.
        name: What a file says is the name of another.
        source: That file, for messages.

    Raises:
        ArtifactError: The name leads elsewhere, by itself or as a link.
    """
    if not is_plain_name(name):
        raise ArtifactError(
            f"{folder}: file {name!r:.80} of {source} lies outside the folder or has no proper "
            "name; export again and do not edit the manifest"
        )
    path = folder / name
    target = stray_link(path)
    if target is not None:
        raise ArtifactError(
            f"{path}: is a link to {target}, outside the folder; copy the file in its place (links "
            "into the blobs of the Hugging Face cache are followed)"
        )
    return path


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file as 64 hex digits, reading it in chunks of one megabyte."""
    digest = hashlib.sha256()
    with open_plain(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of an artifact folder without looking at the files it lists.

    Raises:
        ArtifactError: The folder is no artifact, or its manifest is malformed or too new.
    """
    path = folder / MANIFEST_FILE
    problem = _not_an_artifact(folder)
    if problem is not None:
        raise ArtifactError(problem)
    return Manifest.from_json(
        read_text(inside(folder, MANIFEST_FILE, "it"), MAX_MANIFEST_BYTES), str(path)
    )


def _not_an_artifact(folder: Path) -> str | None:
    """Says what stands where an artifact was expected, None if it may be one."""
    try:
        present = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return f"{folder}: no such folder; make an artifact with dawn-export"
    except NotADirectoryError:
        return f"{folder}: is a file; expected the folder that dawn-export wrote"
    except (OSError, ValueError) as error:
        return f"{folder}: cannot be read ({reason_of(error)}); give the folder of an artifact"
    if MANIFEST_FILE in present:
        return None
    graphs = sorted(name for name in present if name.endswith(".onnx"))
    if graphs:
        return (
            f"{folder}: holds {graphs[0]} but no {MANIFEST_FILE}, an incomplete artifact; copy "
            "the whole folder again, or export into another"
        )
    if any(name.endswith(".safetensors") for name in present):
        return f"{folder}: is a checkpoint, not an artifact; run dawn-export --model {folder} first"
    return f"{folder}: holds no {MANIFEST_FILE}; expected the folder that dawn-export wrote"


def check_file(
    path: Path, entry: FileEntry, *, hash_limit: int | None, limit: int | None = None
) -> None:
    """Compares one file with its entry in the manifest.

    Args:
        path: The file.
        entry: What the manifest says of it.
        hash_limit: Largest size in bytes that is hashed; None hashes any file.
        limit: Largest size in bytes that is accepted; None accepts any.

    Raises:
        ArtifactError: The file is missing, no plain file, too large, or has another size or
            content.
    """
    state = difference(path, entry, hash_limit)
    if state == DAMAGED:
        raise ArtifactError(
            f"{path}: the content does not have the SHA-256 recorded in {MANIFEST_FILE}; "
            "one of the two was altered, export again"
        )
    if state is not None:
        what = "the whole folder" if state == MISSING else "it again"
        raise ArtifactError(f"{path}: the file {state}; copy {what} or export again")
    if limit is not None and entry.size > limit:
        raise ArtifactError(
            f"{path}: the file has {entry.size} bytes, at most {limit} are read; export again"
        )


MISSING: Final = "is missing"
DAMAGED: Final = "is damaged, its SHA-256 differs"


def difference(path: Path, entry: FileEntry, hash_limit: int | None) -> str | None:
    """Says in half a sentence how a file differs from what is recorded of it; None if it does not.

    Args:
        path: The file.
        entry: What is recorded.
        hash_limit: Largest size in bytes that is hashed; None hashes any file.
    """
    try:
        with open_plain(path) as file:
            size = file.seek(0, os.SEEK_END)
        if size != entry.size:
            kind = "truncated" if size < entry.size else "altered"
            return f"is {kind}, {size} bytes instead of {entry.size}"
        hashed = hash_limit is None or size <= hash_limit
        return DAMAGED if hashed and sha256_of(path) != entry.sha256 else None
    except FileNotFoundError:
        return MISSING
    except (OSError, ValueError) as error:
        return f"cannot be read ({reason_of(error)})"
