"""Whether INT8 on the CPU runs with the operator of our own, which is built on demand."""

from pathlib import Path
from typing import Final

from dawn_runtime.doctor.finding import Finding
from dawn_runtime.engine.operators import operators_in
from dawn_runtime.engine.ort.operators import built_library

_REPLACED: Final = "MatMulIntegerToFloat"
_TOPIC: Final = "operators"


def operator_findings(graph: Path) -> list[Finding]:
    """Says which products a graph runs with; nothing where it has none that could be ours.

    Args:
        graph: A file that holds no weights. One that cannot be read is told elsewhere.
    """
    try:
        found = operators_in(graph, [_REPLACED])
    except (OSError, ValueError):
        return []
    if not found:
        return []
    library = built_library()
    if library is None:
        build = "python -m dawn_runtime.cli.build_operators"
        text = f"INT8 products are ONNX Runtime's; {build} makes faster ones, with the same answers"
    else:
        text = f"INT8 products are our own, of {library}"
    return [Finding("ok", _TOPIC, text)]
