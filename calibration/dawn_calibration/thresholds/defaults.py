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
from dawn_runtime.manifest import (
    MANIFEST_FILE,
    DecodingDefaults,
    DefaultRule,
    Manifest,
    OptionValue,
)
from dawn_runtime.rules import make_rule


@dataclass(frozen=True, slots=True)
class Change:
    """What was written.

    Attributes:
        old: Rule before.
        new: Rule now; equal to `old` if there was nothing to write.
    """

    old: DefaultRule
    new: DefaultRule

    def lines(self) -> list[str]:
        """Old and new for people, one line for each value that differs.

        A value that is left out is the policy's own; between two policies it is a dash.
        """
        before, after = _values(self.old), _values(self.new)
        lines = []
        unspelled: Options = {}
        if self.old.policy == self.new.policy:
            unspelled = make_rule(self.new.policy).options()
        else:
            lines.append(f"policy: {self.old.policy} -> {self.new.policy}")
        for name in {**before, **after}:
            old, new = (o.get(name, unspelled.get(name, "-")) for o in (before, after))
            if old != new:
                lines.append(f"{name}: {old} -> {new}")
        if not lines and self.old != self.new:
            return ["the same rule, with what was measured of it"]
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
    """Makes options the artifact's default; window, cache and guard stay if the policy does.

    Options at the policy's own default are left out unless the artifact spelled them before. Other
    arguments and errors as for `write_default`.
    """
    now = read_manifest(folder).decoding.rule
    rule = replace(now, options=options) if policy == now.policy else DefaultRule(policy, options)
    rule = spelled(rule, now)
    if rule.options == now.options and policy == now.policy:
        return Change(now, now)
    return write_default(folder, replace(rule, measured=None), searched)


def write_default(folder: Path, rule: DefaultRule, searched: Manifest | None = None) -> Change:
    """Makes a rule the artifact's default; what it was exported with is kept.

    Args:
        folder: The artifact.
        rule: Policy or scheme, and all that goes with it.
        searched: Manifest of the artifact that it was found on, where that took time in which
            another one may have come into its place.

    Raises:
        ArtifactError: The folder is no artifact, or another one than was searched on.
        OptionError: The options do not fit the policy.
    """
    make_rule(rule.policy, rule.options)
    manifest = read_manifest(folder)
    if searched is not None and manifest.files != searched.files:
        raise ArtifactError(
            f"{folder}: is another artifact than the one that was searched on; search again"
        )
    decoding = manifest.decoding
    if rule == decoding.rule:
        return Change(rule, rule)
    return _write(folder, manifest, decoding.with_rule(rule, decoding.published or decoding.rule))


def spelled(rule: DefaultRule, before: DefaultRule | None = None) -> DefaultRule:
    """Returns a rule without the options that are at the policy's own default.

    Args:
        rule: The rule.
        before: What it takes the place of; what it spells stays spelled if the policy is the same.

    Raises:
        OptionError: The options do not fit the policy.
    """
    kept = before.options if before is not None and before.policy == rule.policy else {}
    usual = make_rule(rule.policy).options()
    options = make_rule(rule.policy, rule.options).options()
    wanted = {
        name: value for name, value in options.items() if name in kept or value != usual[name]
    }
    return replace(rule, options=wanted)


def restore_published(folder: Path) -> Change:
    """Brings back the rule the artifact was exported with; nothing happens if it is in place.

    Raises:
        ArtifactError: The folder is no artifact.
    """
    manifest = read_manifest(folder)
    decoding = manifest.decoding
    if decoding.published is None:
        return Change(decoding.rule, decoding.rule)
    return _write(folder, manifest, decoding.with_rule(decoding.published, None))


def _write(folder: Path, manifest: Manifest, decoding: DecodingDefaults) -> Change:
    check_changeable(folder)
    write_whole(folder / MANIFEST_FILE, replace(manifest, decoding=decoding).to_json())
    return Change(manifest.decoding.rule, decoding.rule)


def _values(rule: DefaultRule) -> dict[str, OptionValue]:
    """Options and what else is set, by name."""
    parts = {"window": rule.window, "cache": rule.cache, "guard": ", ".join(rule.guard)}
    return {**rule.options, **{name: value for name, value in parts.items() if value}}
