"""TensorRT, judged: whether it is there, fits ONNX Runtime, and reads the artifact's opset."""

from collections.abc import Sequence
from pathlib import Path

from dawn_runtime.doctor.finding import Finding, level_of
from dawn_runtime.errors import EngineError
from dawn_runtime.machine.onnx_bytes import GraphVersions
from dawn_runtime.machine.tensorrt import LIBRARY, Version, linked_major, newest_opset


def tensorrt_findings(
    installed: Sequence[Version],
    linked: int | None,
    versions: GraphVersions | None,
    *,
    needed: bool,
) -> list[Finding]:
    """Judges TensorRT.

    Args:
        installed: From `read_installed`.
        linked: Major version that ONNX Runtime's provider is linked against; None without it.
        versions: What the graph of the artifact asks for; None without an artifact.
        needed: Whether the artifact needs TensorRT.
    """
    names = " and ".join(".".join(map(str, version)) for version in installed)
    if not installed:
        return [_absent(linked, needed)]
    findings = [_linked_finding(names, {v[0] for v in installed}, linked)]
    if versions is not None:
        newest = max((newest_opset(version) or 0 for version in installed), default=0)
        findings.append(_opset_finding(names, newest, versions.opset, needed))
    return findings


def _absent(linked: int | None, needed: bool) -> Finding:
    asked = "" if linked is None else f"; ONNX Runtime's provider is linked against {linked}"
    if needed:
        return Finding(
            "problem", "tensorrt", f"TensorRT is not installed{asked}", "install TensorRT"
        )
    advice = "nothing, unless engines shall be built or run on this machine"
    return Finding("note", "tensorrt", f"TensorRT is not installed{asked}", advice)


def _linked_finding(names: str, majors: set[int], linked: int | None) -> Finding:
    if linked is None:
        return Finding("ok", "tensorrt", f"TensorRT {names}")
    if linked in majors:
        text = f"TensorRT {names}; ONNX Runtime's provider is linked against {linked}"
        return Finding("ok", "tensorrt", text)
    return Finding(
        "problem",
        "tensorrt",
        f"TensorRT {names}, but ONNX Runtime's provider is linked against {linked}: "
        "it falls back to CUDA or the CPU in silence",
        f"pip install 'tensorrt>={linked},<{linked + 1}', or another build of onnxruntime-gpu",
    )


def _opset_finding(names: str, newest: int, opset: int, needed: bool) -> Finding:
    reads = f"is known to read up to {newest}" if newest else "is older than any we know"
    text = f"the graph is opset {opset}; TensorRT {names} {reads}"
    if opset <= newest:
        return Finding("ok", "opset", text)
    advice = "export again with --dialect portable to build an engine of it"
    return Finding(level_of(needed), "opset", text, advice)


def read_linked(folder: Path | None) -> tuple[int | None, int | None, list[Finding]]:
    """Majors of TensorRT and CUDA that ONNX Runtime is linked against, and what went wrong.

    Args:
        folder: Where the module onnxruntime lies; None if there is none.
    """
    if folder is None:
        return None, None, []
    try:
        tensorrt = linked_major(folder, "tensorrt", LIBRARY)
        return tensorrt, linked_major(folder, "cuda", "libcudart"), []
    except EngineError as error:
        return None, None, [Finding("problem", "providers", str(error), "install it again")]
