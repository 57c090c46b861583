"""All findings on a machine, and on an artifact that shall run there."""

import platform
import sys
from pathlib import Path
from typing import Final

from dawn_runtime.artifact import Artifact, read_manifest
from dawn_runtime.cuda.nvrtc import Nvrtc, read_nvrtc
from dawn_runtime.doctor import jetson
from dawn_runtime.doctor.decoding import decoding_findings
from dawn_runtime.doctor.finding import Finding
from dawn_runtime.doctor.gpu import gpu_findings
from dawn_runtime.doctor.integrity import integrity_findings
from dawn_runtime.doctor.memory import memory_finding
from dawn_runtime.doctor.numbers import needed_labels, number_findings, read_trials
from dawn_runtime.doctor.nvrtc import nvrtc_findings
from dawn_runtime.doctor.operators import operator_findings
from dawn_runtime.doctor.providers import opset_finding, provider_findings
from dawn_runtime.doctor.target import target_findings
from dawn_runtime.doctor.tensorrt import read_linked, tensorrt_findings
from dawn_runtime.doctor.versions import package_findings, python_finding
from dawn_runtime.errors import ArtifactError, OptionError
from dawn_runtime.hub_cache import located
from dawn_runtime.machine.driver import Cuda, read_cuda
from dawn_runtime.machine.memory import need, read_available
from dawn_runtime.machine.onnx_bytes import GraphVersions, graph_versions
from dawn_runtime.machine.packages import installed_version, read_requirements
from dawn_runtime.machine.providers import CPU, OnnxRuntime, read_onnxruntime
from dawn_runtime.machine.tensorrt import read_installed
from dawn_runtime.manifest import Manifest

DEFAULT_LENGTH: Final = 1024
"""Tokens of a row for which memory is reckoned, where the model takes as many."""


def examine(folder: Path | None = None, length: int | None = None, batch: int = 1) -> list[Finding]:
    """Examines this machine, and an artifact if one is given.

    Args:
        folder: Folder of the artifact.
        length: Tokens of a row, prompt and answer together; None is `DEFAULT_LENGTH` or the
            model's limit, whichever is less.
        batch: Rows decoded together.

    Raises:
        OptionError: The length is more than the model takes.
    """
    artifact, broken = _open(folder)
    graph, unreadable = _graph(artifact)
    manifest = None if artifact is None else artifact.manifest
    found, cuda = read_onnxruntime(graph), read_cuda()
    return [
        *machine_findings(manifest, graph, found, cuda),
        *nvrtc_findings(
            read_nvrtc() if cuda.gpus else Nvrtc(), cuda, needed="gpu" in needed_devices(manifest)
        ),
        *_numbers(artifact, found),
        *broken,
        *([] if artifact is None else integrity_findings(artifact)),
        *unreadable,
        *([] if graph is None else [opset_finding(found, graph)]),
        *([] if artifact is None else operator_findings(_graph_file(artifact))),
        *_target(artifact, found, cuda),
        *([] if manifest is None else memory_findings(manifest, cuda, length, batch)),
        *([] if manifest is None else decoding_findings(manifest, _length(manifest, length))),
    ]


def _open(folder: Path | None) -> tuple[Artifact | None, list[Finding]]:
    if folder is None:
        return None, []
    try:
        folder = located(folder)
        return Artifact(folder, read_manifest(folder)), []
    except ArtifactError as error:
        return None, [
            Finding("problem", "files", str(error), "copy the folder again or export again")
        ]


def _graph_file(artifact: Artifact) -> Path:
    return artifact.folder / artifact.manifest.step.file


def _graph(artifact: Artifact | None) -> tuple[GraphVersions | None, list[Finding]]:
    """Versions of the graph; a graph that is absent is told by the integrity of the files."""
    if artifact is None or not _graph_file(artifact).is_file():
        return None, []
    try:
        return graph_versions(_graph_file(artifact)), []
    except ArtifactError as error:
        return None, [Finding("problem", "opset", str(error), "export again")]


def _numbers(artifact: Artifact | None, found: OnnxRuntime) -> list[Finding]:
    """Judges what ONNX Runtime computes, by what the artifact needs of it if there is one."""
    trials = read_trials(found)
    if artifact is None:
        return number_findings(found, trials, None, ())
    needed = needed_labels(_graph_file(artifact), artifact.manifest.activations)
    on_cpu = "cpu" in needed_devices(artifact.manifest)
    return number_findings(found, trials, needed, [CPU] if on_cpu else [])


def _target(artifact: Artifact | None, found: OnnxRuntime, cuda: Cuda) -> list[Finding]:
    if artifact is None:
        return []
    return target_findings(artifact.manifest, _graph_file(artifact), found, cuda)


def needed_devices(manifest: Manifest | None) -> frozenset[str]:
    """Returns what an artifact cannot do without, of `cpu` (engine), `gpu` and `tensorrt`.

    An engine of TensorRT needs both that and a GPU. The CPU engine has no bfloat16.
    """
    if manifest is None:
        return frozenset()
    if any(name.endswith(".engine") for name in manifest.files):
        return frozenset({"gpu", "tensorrt"})
    return frozenset({"gpu" if manifest.activations == "bf16" else "cpu"})


def _multiplied(manifest: Manifest) -> str:
    """What matrix units multiply; weights that are only stored as integers are widened before."""
    rounded = manifest.precision in ("int8", "int4-int8") and manifest.activations != "fp32"
    return "int8" if rounded else manifest.activations


def machine_findings(
    manifest: Manifest | None, graph: GraphVersions | None, found: OnnxRuntime, cuda: Cuda
) -> list[Finding]:
    """Judges Python, packages, providers, TensorRT, GPUs and board.

    Args:
        manifest: Of the artifact that shall run here; None if there is none.
        graph: Versions of its graph; None if they are not known.
        found: The ONNX Runtime of this machine.
        cuda: Its driver.
    """
    needed = needed_devices(manifest)
    on_cpu = "cpu" in needed
    linked_tensorrt, linked_cuda, wrong = read_linked(found.folder)
    board = jetson.jetson_finding(
        jetson.read_text(jetson.RELEASE_FILE), jetson.read_text(jetson.MODEL_FILE)
    )
    return [
        python_finding(sys.version_info[:3], platform.python_implementation()),
        *package_findings(read_requirements(), installed_version, ["cpu"] if on_cpu else []),
        *provider_findings(found, needed=[CPU] if on_cpu else []),
        *wrong,
        *tensorrt_findings(read_installed(), linked_tensorrt, graph, needed="tensorrt" in needed),
        *gpu_findings(
            cuda,
            provider_cuda=linked_cuda,
            precision=None if manifest is None else _multiplied(manifest),
            needed="gpu" in needed,
        ),
        *([] if board is None else [board]),
    ]


def memory_findings(
    manifest: Manifest, cuda: Cuda, length: int | None, batch: int
) -> list[Finding]:
    """Compares what an artifact needs with what CPU and GPUs have free.

    Raises:
        OptionError: The length is more than the model takes.
    """
    length = _length(manifest, length)
    needed = needed_devices(manifest)
    available, at = read_available(), f"length {length}, batch {batch}"
    wanted = need(manifest, length, batch, on_gpu=False)
    findings = [memory_finding(wanted, available, f"CPU, {at}", needed="cpu" in needed)]
    for gpu in cuda.gpus:
        # A GPU that shares memory can take what the system has free, whatever its driver says.
        free = available if gpu.integrated else gpu.free_bytes
        wanted = need(manifest, length, batch, on_gpu=True)
        findings.append(memory_finding(wanted, free, f"{gpu.name}, {at}", needed="gpu" in needed))
    return findings


def _length(manifest: Manifest, length: int | None) -> int:
    """The length for which all is reckoned.

    Raises:
        OptionError: It is more than the model takes.
    """
    limit = manifest.dims.max_length
    if length is None:
        return min(DEFAULT_LENGTH, limit)
    if length > limit:
        raise OptionError(f"--length {length}: the model takes at most {limit} tokens")
    return length
