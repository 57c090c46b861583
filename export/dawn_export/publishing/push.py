"""An artifact on the Hub, in one commit: it is there whole or not at all, like a folder on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dawn_export.errors import OutputError
from dawn_export.options import check_flag
from dawn_export.progress import Listener, reporting, stage
from dawn_export.publishing.card import (
    MEASURED,
    RUN,
    card_of,
    how_to_run,
    read_card,
    shortened,
    with_section,
)
from dawn_export.publishing.licence import licence_of
from dawn_export.publishing.place import Place, explained, find_place, hub
from dawn_export.sources.hub import notes
from dawn_runtime import __version__
from dawn_runtime.artifact import Artifact, inside, sha256_of
from dawn_runtime.bench.record import Record, read_record
from dawn_runtime.bench.report import markdown
from dawn_runtime.errors import DawnError, OptionError
from dawn_runtime.files import reason_of, write_whole
from dawn_runtime.manifest import CARD_FILE, MANIFEST_FILE

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete


@dataclass(frozen=True, slots=True)
class Pushed:
    """What is on the Hub now.

    Attributes:
        url: Page of the repository.
        commit: Hash of the commit that holds the artifact.
        private: Whether others do not see it.
        files: What the artifact is made of there.
        removed: Files of the artifact that was there before.
    """

    url: str
    commit: str
    private: bool
    files: tuple[str, ...]
    removed: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The report as JSON carries it."""
        return asdict(self)

    def summary(self) -> str:
        """One line for people."""
        seen = "private" if self.private else "public"
        gone = f", {', '.join(self.removed)} removed" if self.removed else ""
        return f"pushed {len(self.files)} files to {self.url} ({seen}, {self.commit[:8]}{gone})"


def push(
    artifact: str | Path,
    repository: str,
    *,
    public: bool = False,
    results: str | Path | None = None,
    progress: bool | Listener = False,
) -> Pushed:
    """Puts an artifact and its model card into a repository of the Hugging Face Hub.

    A repository that is not there is made, private unless said otherwise. Sent are the files that
    the manifest lists, all of them hashed before, the manifest and the card; of an artifact that
    was there before, what the new one has not goes. Anything else stays, here and there. The token
    and the address are those of `huggingface_hub` (`hf auth login`, `HF_TOKEN`, `HF_ENDPOINT`).

    Args:
        artifact: Its folder. Its README.md is the card; one is written if there is none.
        repository: `OWNER/NAME`.
        public: Whether everybody shall see a repository that is made anew.
        results: File of `dawn-bench --output` about this artifact, for the card.
        progress: As for `export`.

    Raises:
        ArtifactError: The folder holds no artifact, or a damaged one.
        OptionError: The name is none, a private repository shall be public, or the results are of
            another artifact.
        OutputError: The card cannot be written.
        PushError: There is no token, no way to the Hub or no permission, or the upload broke off.
        DependencyError: huggingface_hub is not installed.
    """
    check_flag("public", public)
    place = find_place(repository, public=public)
    with reporting(progress):
        with stage("hashing", f"hashing {artifact}"):
            opened = Artifact.open(artifact, verify="full")
        record = None if results is None else measured(opened, Path(results))
        _write_card(opened, repository, record)
        again = f"run 'dawn-export --artifact {artifact} --push {repository}' again"
        with notes(shown=bool(progress)), _bars(shown=progress is True):
            return _sent(opened, place, again)


def measured(artifact: Artifact, results: Path) -> Record:
    """Returns results about an artifact, without folders of this machine in their command.

    Raises:
        OptionError: They are about another one too, or the file is no result.
    """
    record = read_record(results)
    told = record.header.get("artifact_sha256")
    known = told if isinstance(told, dict) else {}
    if {known.get(name) for name in record.artifacts} != {
        sha256_of(artifact.folder / MANIFEST_FILE)
    }:
        raise OptionError(
            f"--bench {results}: is not about {artifact.folder} as it is now, or not about it "
            "alone; measure it with dawn-bench --output"
        )
    command = shortened(map(str, record.header["command"]))
    return Record({**record.header, "command": command}, record.measured)


def _write_card(artifact: Artifact, repository: str, record: Record | None) -> None:
    """Brings the card up to date: how it is run under this name, and what was measured."""
    path, manifest = artifact.folder / CARD_FILE, artifact.manifest
    try:
        inside(artifact.folder, CARD_FILE, "it")
        before = read_card(artifact.folder)
        licence = licence_of(artifact.folder, manifest.origin)
        card = before or card_of(artifact.folder, manifest, licence)
        card = with_section(card, RUN, how_to_run(manifest, repository)) or card
        if record is not None:
            written = with_section(card, MEASURED, markdown(record).strip())
            if written is None:
                raise OptionError(
                    f"--bench: {path} has no place for it; put the lines <!-- dawn-export: "
                    f"{MEASURED} --> and <!-- end of dawn-export --> where it shall be"
                )
            card = written
        if card != before:
            write_whole(path, card)
    except DawnError:
        raise
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: {reason_of(error)}; the card goes with the artifact") from error


def _sent(artifact: Artifact, place: Place, again: str) -> Pushed:
    api, repository = hub(), place.repository
    files = (*sorted(artifact.manifest.files), MANIFEST_FILE, CARD_FILE)
    removed = tuple(name for name in place.listed if name not in files)
    total = sum(entry.size for entry in artifact.manifest.files.values())
    doing = f"uploading {total / 1e6:.1f} MB to {repository}"
    with explained(repository, again), stage("uploading", doing):
        if place.commit is None:
            api.create_repo(repository, private=place.private)
        manifest = artifact.manifest
        done = api.create_commit(
            repository,
            _operations(artifact, files, removed),
            commit_message=f"{manifest.family} in {manifest.precision}, dawn-edge {__version__}",
            parent_commit=place.commit,
        )
    return Pushed(f"{api.endpoint}/{repository}", done.oid, place.private, files, removed)


def _operations(
    artifact: Artifact, files: tuple[str, ...], removed: tuple[str, ...]
) -> list[CommitOperationAdd | CommitOperationDelete]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    added = [CommitOperationAdd(name, artifact.folder / name) for name in files]
    return [*added, *map(CommitOperationDelete, removed)]


@contextmanager
def _bars(*, shown: bool) -> Iterator[None]:
    """Keeps back the progress bars of huggingface_hub, unless they are wanted."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if shown or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
