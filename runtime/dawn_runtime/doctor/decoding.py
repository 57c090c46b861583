"""Whether what an artifact recommends for decoding can work at a length."""

from dawn_runtime.doctor.finding import Finding
from dawn_runtime.errors import OptionError
from dawn_runtime.manifest import Manifest
from dawn_runtime.policies import POLICIES


def decoding_findings(manifest: Manifest, length: int) -> list[Finding]:
    """Asks the recommended rule whether anything speaks against it.

    Args:
        manifest: Of the artifact.
        length: Tokens of a row, prompt and answer together.

    Returns:
        One finding; none where a scheme of its own is recommended.
    """
    decoding, at = manifest.decoding, f"at length {length}"
    if decoding.policy not in POLICIES:
        return []
    if manifest.attention.kind != "full":
        return [
            Finding(
                "note",
                "decoding",
                f"the model attends {manifest.attention.words()}: a policy alone, which sees "
                "everything, does not decode it",
                "give dawn-generate --policy a scheme that does; it names those that there are",
            )
        ]
    try:
        doubt = POLICIES.make(decoding.policy, dict(decoding.options)).doubt(length)
    except OptionError as error:
        return [Finding("problem", "decoding", str(error), "mend decoding in dawn.json")]
    if doubt is None:
        return [Finding("ok", "decoding", f"{decoding.policy} can do its work {at}")]
    return [
        Finding(
            "note",
            "decoding",
            f"{decoding.policy} {at}: {doubt}",
            "find thresholds with dawn-calibrate thresholds, or decode with --policy threshold",
        )
    ]
