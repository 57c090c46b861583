"""Decoding defaults of an artifact: replaced in the open, and brought back.

Only `dawn.json` is written, in one step, so the hashes of all other files stay good. What stood
there when the artifact was exported is kept in it as `decoding.published`, however often the
defaults are tuned again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from dawn_calibration.thresholds.grids import Options
from dawn_runtime.artifact import read_manifest
from dawn_runtime.errors import ArtifactError
from dawn_runtime.files import Destination, reason_of, write_whole
from dawn_runtime.manifest import MANIFEST_FILE, DecodingDefaults, Manifest, PublishedRule
from dawn_runtime.policies import POLICIES


@dataclass(frozen=True, slots=True)
class Change:
    """What was written.

    Attributes:
        old: Rule before.
        new: Rule now; equal to `old` if there was nothing to write.
    """

    old: PublishedRule
    new: PublishedRule

    def lines(self) -> list[str]:
        """Old and new for people, one line for each value that differs.

        A value that is left out is the policy's own; between two policies it is a dash.
        """
        before, after = self.old.options, self.new.options
        lines = []
        unspelled: Options = {}
        if self.old.policy == self.new.policy:
            unspelled = POLICIES.make(self.new.policy).options()
        else:
            lines.append(f"policy: {self.old.policy} -> {self.new.policy}")
        for name in {**before, **after}:
            old, new = (o.get(name, unspelled.get(name, "-")) for o in (before, after))
            if old != new:
                lines.append(f"{name}: {old} -> {new}")
        return lines or ["nothing to change"]


def check_changeable(folder: Path) -> None:
    """Refuses an artifact whose defaults cannot be replaced, before there is work to lose.

    Raises:
        ArtifactError: The folder is no artifact, its manifest may not be written, or is a link into
            a cache that others share.
    """
    read_manifest(folder)
    path = folder / MANIFEST_FILE
    if path.is_symlink():
        raise ArtifactError(
            f"{path}: is a link into a cache, which stays as it is; copy the folder first, such as "
            f"with cp -rL {folder} COPY"
        )
    try:
        Destination.of(path)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be written ({reason_of(error)})") from error


def write_tuned(
    folder: Path, policy: str, options: Options, searched: Manifest | None = None
) -> Change:
    """Makes a rule the artifact's default; what it was exported with is kept.

    Options at the policy's own default are left out unless the artifact spelled them before.

    Args:
        folder: The artifact.
        policy: Name of a policy.
        options: Its options.
        searched: Manifest of the artifact that the options were found on, where that took time in
            which another one may have come into its place.

    Raises:
        ArtifactError: The folder is no artifact, or another one than was searched on.
        OptionError: The options do not fit the policy.
    """
    manifest = read_manifest(folder)
    if searched is not None and manifest.files != searched.files:
        raise ArtifactError(
            f"{folder}: is another artifact than the one that was searched on; search again"
        )
    decoding = manifest.decoding
    before = decoding.options if policy == decoding.policy else {}
    usual = POLICIES.make(policy).options()
    spelled = {
        name: value
        for name, value in POLICIES.make(policy, options).options().items()
        if name in before or value != usual[name]
    }
    if policy == decoding.policy and spelled == before:
        return Change(_rule(decoding), _rule(decoding))
    published = decoding.published or _rule(decoding)
    tuned = replace(decoding, policy=policy, options=spelled, published=published)
    return _write(folder, manifest, tuned)


def restore_published(folder: Path) -> Change:
    """Brings back the rule the artifact was exported with; nothing happens if it is in place.

    Raises:
        ArtifactError: The folder is no artifact.
    """
    manifest = read_manifest(folder)
    decoding = manifest.decoding
    published = decoding.published
    if published is None:
        return Change(_rule(decoding), _rule(decoding))
    restored = replace(decoding, policy=published.policy, options=published.options, published=None)
    return _write(folder, manifest, restored)


def _write(folder: Path, manifest: Manifest, decoding: DecodingDefaults) -> Change:
    check_changeable(folder)
    write_whole(folder / MANIFEST_FILE, replace(manifest, decoding=decoding).to_json())
    return Change(_rule(manifest.decoding), _rule(decoding))


def _rule(decoding: DecodingDefaults) -> PublishedRule:
    return PublishedRule(decoding.policy, decoding.options)
