"""Whether every file of an artifact is the one its manifest lists."""

from pathlib import Path

from dawn_runtime.artifact import Artifact
from dawn_runtime.companions import open_companions
from dawn_runtime.doctor.finding import Finding
from dawn_runtime.engine.tensorrt.plans import (
    PLAN_SUFFIX,
    RECORD_SUFFIX,
    plan_files,
    read_record,
    record_files,
    without_plan,
)
from dawn_runtime.errors import ArtifactError, DependencyError, EngineError
from dawn_runtime.manifest import CARD_FILE, MANIFEST_FILE

_AGAIN = "copy the folder again or export again"


def integrity_findings(artifact: Artifact) -> list[Finding]:
    """Makes every check that opening makes, and more: all files are hashed, none is trusted.

    Args:
        artifact: Its manifest is read; its files are not checked yet.
    """
    problems = [*map(str, artifact.problems(hash_limit=None))]
    wrong = [Finding("problem", "files", problem, _AGAIN) for problem in problems]
    findings = wrong or [_all_right(artifact), *_text(artifact)]
    return findings + _plans(artifact) + _foreign(artifact) + _no_plan(artifact)


def _text(artifact: Artifact) -> list[Finding]:
    """Opens tokenizer and template, as decoding does; missing packages are told elsewhere."""
    try:
        open_companions(artifact)
    except ArtifactError as error:
        return [Finding("problem", "files", str(error), _AGAIN)]
    except DependencyError:
        pass
    return []


def _plans(artifact: Artifact) -> list[Finding]:
    """Reads the record of every plan and hashes the plan; names plans without a record."""
    folder = artifact.folder
    records = record_files(folder)
    found = [finding for path in records if (finding := _plan(artifact, path)) is not None]
    recorded = {path.name.removesuffix(RECORD_SUFFIX) + PLAN_SUFFIX for path in records}
    present = {path.name for path in folder.glob(f"*{PLAN_SUFFIX}")}
    return found + [_unrecorded(artifact, name) for name in sorted(present - recorded)]


def _plan(artifact: Artifact, path: Path) -> Finding | None:
    try:
        read_record(path).check_file(artifact.folder, hash_limit=None)
    except (ArtifactError, EngineError) as error:
        advice = f"dawn-export --artifact {artifact.folder} --target tensorrt, on the device"
        return Finding("problem", "plans", str(error), advice)
    return None


def _unrecorded(artifact: Artifact, name: str) -> Finding:
    text = f"{artifact.folder / name}: a plan without a record, so it is never used"
    advice = f"dawn-export --artifact {artifact.folder} --target tensorrt --adopt {name}"
    return Finding("note", "plans", text, advice)


def _no_plan(artifact: Artifact) -> list[Finding]:
    if not without_plan(artifact.folder):
        return []
    text = f"{artifact.folder}: was made for TensorRT, and no plan is built yet"
    remedy = f"dawn-export --artifact {artifact.folder} --target tensorrt, on the device"
    return [Finding("note", "files", text, remedy)]


def _all_right(artifact: Artifact) -> Finding:
    files = artifact.manifest.files
    total = sum(entry.size for entry in files.values())
    text = f"{len(files)} files, {total / 1e9:.2f} GB: sizes and SHA-256 as in {MANIFEST_FILE}"
    return Finding("ok", "files", text)


def _foreign(artifact: Artifact) -> list[Finding]:
    listed = {MANIFEST_FILE, CARD_FILE, *artifact.manifest.files, *plan_files(artifact.folder)}
    present = {path.name for path in artifact.folder.iterdir()}
    return [
        Finding(
            "note",
            "files",
            f"{artifact.folder / name}: not listed in {MANIFEST_FILE}, so it is never read",
            "remove it if it is not yours",
        )
        for name in sorted(present - listed)
    ]
