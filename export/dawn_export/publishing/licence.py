"""Under which terms a checkpoint was published, as far as its files or its release tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dawn_export.sources.aliases import ALIASES
from dawn_export.text.side_files import find, read_bytes
from dawn_models.files import LICENCE_FILES
from dawn_runtime.manifest import CARD_FILE, Origin
from dawn_runtime.native import reason_of

_FIELDS: Final = ("license", "license_name", "license_link")
"""Fields of a card: the licence, and beside it what goes with one that is none of the Hub's own."""

_OTHER: Final = "other"

_OF_THE_HUB: Final = frozenset({"apache-2.0", "apple-amlr", "cc-by-nc-4.0", "mit"})
"""What the Hub calls the licences that releases of our families were seen to have."""

_MOST_CARD_BYTES: Final = 2**20
_LONGEST: Final = 200


@dataclass(frozen=True, slots=True)
class Licence:
    """What is known of the terms.

    Attributes:
        fields: Of a model card: `license`, and with it perhaps `license_name` and `license_link`;
            empty where nothing is known.
        source: Where that comes from, for people.
        files: Files with the terms that lie beside the checkpoint, and go into the artifact.
        warning: What was found and could not be read; None if nothing.
    """

    fields: Mapping[str, str]
    source: str
    files: tuple[str, ...] = ()
    warning: str | None = None

    def line(self) -> str:
        """Returns it for people, in one line."""
        beside = f"; {' and '.join(self.files)} beside this card" if self.files else ""
        if not self.fields:
            return f"not known: {self.source}{beside}"
        name = self.fields.get("license_name", self.fields["license"])
        link = f", {self.fields['license_link']}" if "license_link" in self.fields else ""
        return f"{name}{link} ({self.source}){beside}"


def licence_of(folder: Path, origin: Origin | None) -> Licence:
    """Finds out what the terms of a checkpoint are.

    Its model card says it; else what the card of that release was seen to state.

    Args:
        folder: Where it lies.
        origin: Where on the Hub it comes from; None for a local folder.

    Raises:
        SourceError: Its card links out of the checkpoint, or is too large.
    """
    files = tuple(name for name in LICENCE_FILES if find(folder, name) is not None)
    found, warning = _of_card(folder)
    if found:
        return Licence(found, "by the model card of the checkpoint", files, warning)
    seen = _seen(origin)
    if seen:
        return Licence(seen, "as the card of this release was seen to state it", files, warning)
    return Licence({}, "the checkpoint does not state it in a model card", files, warning)


def _of_card(folder: Path) -> tuple[dict[str, str], str | None]:
    """What the front matter of a README.md says, and a warning where it cannot be read."""
    path = find(folder, CARD_FILE)
    if path is None:
        return {}, None
    text = read_bytes(path, _MOST_CARD_BYTES).decode("utf-8", "replace")
    if not text.lstrip("\ufeff").startswith("---"):
        return {}, None
    from huggingface_hub import ModelCard

    try:
        card = ModelCard(text.lstrip("\ufeff"), ignore_metadata_errors=True)
        said = {name: card.data.get(name) for name in _FIELDS}
    except Exception as error:  # whatever a parser of YAML raises at what strangers wrote
        return {}, f"{path}: its front matter is not read ({reason_of(error):.120})"
    return _fields_of(said), None


def _fields_of(said: Mapping[str, Any]) -> dict[str, str]:
    """Fields about the licence that are short texts; none of them without the first."""
    kept = {
        name: " ".join(value.split())
        for name, value in said.items()
        if isinstance(value, str) and value.strip() and len(value) <= _LONGEST
    }
    return kept if "license" in kept else {}


def _seen(origin: Origin | None) -> dict[str, str]:
    """What the card of a release was seen to state, as fields of another card."""
    repository = None if origin is None else origin.repository
    seen = [alias for alias in ALIASES.values() if alias.repository == repository]
    if not seen or not seen[0].known_licence:
        return {}
    name = seen[0].licence
    if name.lower() in _OF_THE_HUB:
        return {"license": name.lower()}
    return {"license": _OTHER, "license_name": name}
