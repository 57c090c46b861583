"""Where a checkpoint comes from: a local folder, or a repository of the Hugging Face Hub.

`--model` takes three kinds of text, looked at in this order:

1. a folder that exists, whatever it is called: a folder `dream` in the working directory goes
   before the alias of that name (the repository's full id, as `--list-models` shows it, reaches
   past the folder);
2. a name of `dawn_export.sources.aliases.ALIASES`;
3. an id on the Hub, `OWNER/NAME`.

Only safetensors and the files beside them are fetched, never code and never pickles.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from dawn_export.errors import SourceError
from dawn_export.sources.aliases import ALIASES, known_of
from dawn_export.sources.hub import download
from dawn_models import CheckpointError, Told, read_config
from dawn_models.adapter import ADAPTER_FILES
from dawn_models.families.told import NOTHING
from dawn_models.files import LICENCE_FILES
from dawn_runtime.decoding_defaults import DECODING_FILE
from dawn_runtime.errors import OptionError
from dawn_runtime.manifest import CARD_FILE, MANIFEST_FILE, Origin

TEXT_FILES = (
    *LICENCE_FILES,
    CARD_FILE,
    "config.json",
    "generation_config.json",
    DECODING_FILE,
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "adapter_config.json",
)
"""Small files, fetched and looked at before the weights."""

WEIGHT_FILES = ("*.safetensors",)
"""What is fetched once the model is known to be one we can export."""

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A checkpoint that is on this machine already.

    Attributes:
        folder: Where it is.
        told: What it is, where its files do not say.
    """

    folder: Path
    told: Told = NOTHING

    def told_by(self, told: Told) -> LocalFolder:
        """Returns the same with what a user says of it."""
        return replace(self, told=told)

    def fetch(self, *, progress: bool) -> Path:
        """Returns the folder; there is nothing to fetch."""
        del progress
        return self.folder

    def origin(self, folder: Path) -> None:
        """Returns None: what a folder holds may be anyone's."""
        del folder


@dataclass(frozen=True, slots=True)
class HubRepository:
    """A checkpoint on the Hugging Face Hub.

    Attributes:
        repository: `OWNER/NAME`.
        revision: Branch, tag or commit; None is the default branch.
        told: What it is, where its files do not say.
    """

    repository: str
    revision: str | None = None
    told: Told = NOTHING

    def told_by(self, told: Told) -> HubRepository:
        """Returns the same with what a user says of it; what the release is known to be stays."""
        return replace(self, told=told.or_else(known_of(self.repository)))

    def fetch(self, *, progress: bool) -> Path:
        """Downloads what the cache lacks and returns the folder of the snapshot.

        The files of a snapshot may be links into the cache.

        Args:
            progress: Whether to show progress bars and notes of the Hub on standard error.

        Raises:
            SourceError: The Hub cannot be reached, or it does not give us these files, or there
                is no room for them, or the model is not of a family we know (found before its
                weights are fetched).
            DependencyError: huggingface_hub is not installed.
        """
        folder = download(self.repository, self.revision, TEXT_FILES, progress=progress)
        try:
            family, _ = read_config(folder, told=self.told)
        except CheckpointError as error:
            raise SourceError(f"{self.repository}: {error}") from error
        # By commit, so that both parts are of one revision even if the branch moves meanwhile.
        folder = download(self.repository, folder.name, WEIGHT_FILES, progress=progress)
        if family.draft_folder and not self.told.no_draft_adapter:
            download(
                self.repository,
                folder.name,
                ADAPTER_FILES,
                progress=progress,
                subfolder=family.draft_folder,
            )
        if not any(path.suffix == ".safetensors" for path in folder.iterdir()):
            raise SourceError(
                f"{self.repository}: no .safetensors in this revision or in its cached copy; only "
                "safetensors are read (a pickle can run code): name a --revision that has them"
            )
        return folder

    def origin(self, folder: Path) -> Origin:
        """Names what `fetch` gave: the repository and the commit, which the folder is called."""
        return Origin(self.repository, folder.name)


Source = LocalFolder | HubRepository
"""Either place; `fetch` gives the folder, `origin` what the manifest says of it."""


def _check_checkpoint(folder: Path) -> None:
    """Refuses an artifact, which has a config.json too."""
    if (folder / MANIFEST_FILE).exists() and not any(folder.glob("*.safetensors")):
        raise SourceError(
            f"{folder}: is an artifact, which dawn-export has written; give the checkpoint that it "
            "was exported from"
        )


def find_source(model: str | Path, revision: str | None = None) -> Source:
    """Finds out what a name stands for, without touching the network.

    Args:
        model: Folder, name of `ALIASES` or id on the Hub, in this order; see the module. A `Path`
            is never anything but a folder.
        revision: Branch, tag or commit on the Hub.

    Raises:
        SourceError: It is none of them.
        OptionError: A revision is asked for of a local folder.
    """
    if str(model) and Path(model).is_dir():
        if revision is not None:
            raise OptionError(
                f"got revision {revision!r} and the local folder {model}; revisions go with a "
                "repository of the Hub: give one, or leave the revision out"
            )
        _check_checkpoint(Path(model))
        return LocalFolder(Path(model))
    if str(model) and Path(model).exists():
        raise SourceError(
            f"{model}: is a file; give the folder of a Hugging Face checkpoint, with config.json "
            "and safetensors"
        )
    if isinstance(model, str) and model in ALIASES:
        return HubRepository(ALIASES[model].repository, revision)
    if isinstance(model, str) and _HUB_ID.fullmatch(model):
        return HubRepository(model, revision)
    raise SourceError(
        f"{model}: no such folder; expected a Hugging Face checkpoint folder, an id on the Hub "
        f"(OWNER/NAME) or one of {', '.join(ALIASES)}"
    )
