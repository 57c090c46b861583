"""Where ONNX Runtime computes what: nodes of the graph by provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gpu_checks.engines import opened
from gpu_checks.outcome import CheckError


def count(folder: Path, name: str) -> dict[str, Any]:
    """Counts the nodes of a session by provider and operator.

    Args:
        folder: Folder of the artifact.
        name: Name of an engine of ONNX Runtime on a GPU.

    Raises:
        CheckError: The release does not say where nodes are, so nothing is known.
    """
    with opened(folder, name) as (_, engine):
        found: dict[str, dict[str, int]] = engine.nodes()  # type: ignore[attr-defined]
    if not found:
        raise CheckError("this onnxruntime does not say where nodes are computed; take a newer one")
    return {"nodes": found, "said": [_line(*entry) for entry in found.items()]}


def _line(provider: str, counted: dict[str, int]) -> str:
    most = sorted(counted.items(), key=lambda entry: (-entry[1], entry[0]))[:6]
    named = ", ".join(f"{number} {operator}" for operator, number in most)
    return f"{provider}: {sum(counted.values())} nodes, most of them {named}"
