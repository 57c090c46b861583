"""Whether an artifact was made for what this machine has; it may well run where it was not."""

from pathlib import Path

from dawn_runtime.doctor.finding import Finding
from dawn_runtime.engine.operators import belongs_on_cpu
from dawn_runtime.engine.ort.session import CUDA_PROVIDER
from dawn_runtime.machine.driver import Cuda
from dawn_runtime.machine.providers import OnnxRuntime
from dawn_runtime.manifest import Manifest

_FOR_GPU = "for the GPU export again with --target cuda, or build a plan of a --target tensorrt one"
_FOR_CPU = "export again with --target cpu, where --precision int8 is the fastest"


def target_findings(
    manifest: Manifest, graph: Path, found: OnnxRuntime, cuda: Cuda
) -> list[Finding]:
    """Compares what an artifact was made for with what works here.

    Args:
        manifest: Of the artifact.
        graph: Its `model.onnx`.
        found: The ONNX Runtime of this machine.
        cuda: Its driver.

    Returns:
        One finding; none for an older artifact that does not say, unless its operators do.
    """
    stays = belongs_on_cpu(manifest, graph)
    made = "cpu" if stays else manifest.target
    if made is None:
        return []
    text = f"the artifact was made for {made} at {manifest.precision}"
    has_provider = bool(cuda.gpus) and found.failures.get(CUDA_PROVIDER) == ""
    if made == "cpu":
        return [_for_cpu(text, has_provider, stays)]
    if made == "tensorrt" and not cuda.gpus:
        return [Finding("note", "target", f"{text}, and there is no GPU", _FOR_CPU)]
    if made == "cuda" and not has_provider:
        return [Finding("note", "target", f"{text}, and its provider does not work here", _FOR_CPU)]
    return [Finding("ok", "target", text)]


def _for_cpu(text: str, has_provider: bool, stays: bool) -> Finding:
    if has_provider and stays:
        text = f"{text}: it runs on the CPU, though CUDA works here"
        return Finding("note", "target", text, _FOR_GPU)
    return Finding("ok", "target", f"{text}, and runs on CUDA too" if has_provider else text)
