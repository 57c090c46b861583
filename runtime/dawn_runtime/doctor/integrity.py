"""Whether every file of an artifact is the one its manifest lists."""

from dawn_runtime.artifact import Artifact, check_file
from dawn_runtime.doctor.finding import Finding
from dawn_runtime.engine.tensorrt_plans import plan_files, without_plan
from dawn_runtime.errors import ArtifactError
from dawn_runtime.manifest import GRAPH_FILE, MANIFEST_FILE


def integrity_findings(artifact: Artifact) -> list[Finding]:
    """Hashes every file and names what is missing, altered, linked or not listed.

    Args:
        artifact: Its manifest is read; its files are not checked yet.
    """
    files = artifact.manifest.files
    wrong = [found for name in files if (found := _file_finding(artifact, name)) is not None]
    if GRAPH_FILE not in files:
        text = f"{artifact.folder}: {MANIFEST_FILE} lists no {GRAPH_FILE}"
        wrong.append(Finding("problem", "files", text, "export again"))
    findings = wrong or [_all_right(artifact)]
    return findings + _foreign(artifact) + _no_plan(artifact)


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


def _file_finding(artifact: Artifact, name: str) -> Finding | None:
    try:
        path = artifact.path(name)
        check_file(path, artifact.manifest.files[name], hash_limit=None)
    except (ArtifactError, OSError) as error:
        return Finding("problem", "files", str(error), "copy the folder again or export again")
    if path.is_symlink():
        text = f"{path}: is a link; newer versions of ONNX Runtime refuse weights behind links"
        return Finding("note", "files", text, "copy the file in place of the link")
    return None


def _foreign(artifact: Artifact) -> list[Finding]:
    listed = {MANIFEST_FILE, *artifact.manifest.files, *plan_files(artifact.folder)}
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
