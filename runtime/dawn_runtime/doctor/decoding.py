"""What an artifact recommends for decoding, and whether it can work at a length."""

from dawn_runtime.decoding import Scheme, Unmask
from dawn_runtime.doctor.finding import Finding
from dawn_runtime.errors import ArtifactError
from dawn_runtime.manifest import Manifest
from dawn_runtime.option_fields import Options, options_of
from dawn_runtime.settings import check_default


def decoding_findings(manifest: Manifest, length: int) -> list[Finding]:
    """Asks the recommended rule whether anything speaks against it.

    Args:
        manifest: Of the artifact.
        length: Tokens of a row, prompt and answer together.
    """
    decoding, at = manifest.decoding, f"at length {length}"
    try:
        shift, attention = manifest.prediction_shift, manifest.attention
        scheme = check_default(decoding, shift=shift, attention=attention)
    except ArtifactError as error:
        return [Finding("problem", "decoding", str(error), "mend decoding in dawn.json")]
    doubt = scheme.policy.doubt(length) if isinstance(scheme, Unmask) else None
    if doubt is None:
        said = f"{_shown(scheme)} can do its work {at}; {_why(manifest)}"
        return [Finding("ok", "decoding", said)]
    return [
        Finding(
            "note",
            "decoding",
            f"{decoding.policy} {at}: {doubt}",
            "find thresholds with dawn-calibrate thresholds, or decode with --policy threshold",
        )
    ]


def _why(manifest: Manifest) -> str:
    """Why the artifact recommends what it does, as far as its manifest tells."""
    decoding = manifest.decoding
    if decoding.measured is not None:
        return f"chosen for {decoding.measured.line()}"
    if decoding.published is not None:
        return (
            f"recorded in place of {decoding.published.policy}, and not said why: no measurement "
            "is kept"
        )
    if decoding.policy == "dawn":
        return f"the usual rule of models like {manifest.family}, not chosen by a measurement"
    return f"how the authors of {manifest.family} decode, not chosen by a measurement"


def _shown(scheme: Scheme) -> str:
    """The rule with what is not its usual value."""
    rule = scheme.policy if isinstance(scheme, Unmask) else scheme
    changed = _changed(rule)
    guards = [f"guard {one.text()}" for one in scheme.guards] if isinstance(scheme, Unmask) else []
    parts = ((kind, getattr(scheme, kind, None)) for kind in ("window", "cache"))
    named = [
        f"{kind} {':'.join([part.name, *filter(None, [','.join(_changed(part))])])}"
        for kind, part in parts
        if part is not None
    ]
    return f"{rule.name} ({', '.join([*changed, *named, *guards])})"


def _changed(part: Options) -> list[str]:
    """Options that have not their usual value, and no part of a rule."""
    usual = type(part)()
    values = ((one.name, getattr(part, one.name)) for one in options_of(type(part)))
    return [f"{name}={value}" for name, value in values if value != getattr(usual, name)]
