"""ONNX Runtime and its providers, judged: what loads, what the artifact needs, which opset."""

from collections.abc import Sequence

from dawn_runtime.doctor.finding import Finding, level_of
from dawn_runtime.machine.onnx_bytes import GraphVersions
from dawn_runtime.machine.providers import OnnxRuntime


def provider_findings(found: OnnxRuntime, *, needed: Sequence[str]) -> list[Finding]:
    """Judges ONNX Runtime and its providers.

    Args:
        found: From `read_onnxruntime`.
        needed: Providers without which the artifact cannot run.
    """
    if not found.version:
        text = f"ONNX Runtime does not load: {found.reason:.300}"
        return [Finding(level_of(bool(needed)), "providers", text, "pip install 'dawn-edge[cpu]'")]
    loaded = [short_name(name) for name, reason in found.failures.items() if not reason]
    findings = [Finding("ok", "providers", f"ONNX Runtime {found.version}: {', '.join(loaded)}")]
    for name, reason in found.failures.items():
        if reason:
            findings.append(_does_not_load(name, reason, name in needed))
    missing = [name for name in needed if name not in found.failures]
    return findings + [_not_in_build(name, found.version) for name in missing]


def _does_not_load(name: str, reason: str, needed: bool) -> Finding:
    return Finding(
        level_of(needed),
        "providers",
        f"{short_name(name)} is named by ONNX Runtime but does not load: {reason:.300}",
        "install the library named there, or leave it if the CPU will do",
    )


def _not_in_build(name: str, version: str) -> Finding:
    return Finding(
        "problem",
        "providers",
        f"ONNX Runtime {version} was built without {short_name(name)}, which the artifact needs",
        "install a build of onnxruntime that has it",
    )


def short_name(provider: str) -> str:
    """Returns the name of a provider without what all of them end in."""
    return provider.removesuffix("ExecutionProvider")


def opset_finding(found: OnnxRuntime, versions: GraphVersions) -> Finding:
    """Says whether ONNX Runtime reads graphs of these versions, as it was tried.

    Args:
        found: From `read_onnxruntime`, called with the same versions.
        versions: What the graph of the artifact asks for.
    """
    text = f"the graph is opset {versions.opset}, IR {versions.ir_version}"
    if not found.version:
        return Finding("note", "opset", f"{text}; not tried without ONNX Runtime", "see providers")
    if not found.graph_refused:
        return Finding("ok", "opset", f"{text}; ONNX Runtime {found.version} reads it")
    return Finding(
        "problem",
        "opset",
        f"{text}; ONNX Runtime {found.version} refuses it: {found.graph_refused:.300}",
        "pip install --upgrade onnxruntime, or export again with --dialect portable",
    )
