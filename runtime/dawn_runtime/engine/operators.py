"""Operators of a graph, and which of them ONNX Runtime computes on the CPU, whatever is asked for.

A session on a GPU gives the CPU all that has no kernel for the GPU, with a copy there and back for
every node, and says nothing. So graphs whose products have none are known by their operators before
anything is opened, and where nodes were put is read when a session is open.
"""

import mmap
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from dawn_runtime.contract import ACTIVATION_DTYPES
from dawn_runtime.manifest import Manifest

CPU_ONLY: Final = ("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "DynamicQuantizeLinear")
"""Products with integers, and what rounds for them, that the provider of CUDA has no kernel for. It
has those of `MatMulNBits` and `GatherBlockQuantized` (docs/OperatorKernels.md of ONNX Runtime)."""

RECORD_PLACES: Final = "session.record_ep_graph_assignment_info"
"""Option of a session without which it cannot say where its nodes are."""

_CPU: Final = "CPUExecutionProvider"
_OF_SHAPES: Final = frozenset(
    (
        *("Shape", "Size", "Concat", "Gather", "Slice", "Squeeze", "Unsqueeze", "Reshape", "Cast"),
        *("Add", "Sub", "Mul", "Div"),
    )
)
"""What the arithmetic of shapes takes, which ONNX Runtime does on the CPU because it belongs there.
In our graphs only a tied head has any: `Shape` and `Concat`."""


def operators_in(graph: Path, operators: Iterable[str]) -> frozenset[str]:
    """Returns those of some operators that an ONNX file has.

    Args:
        graph: A file that holds no weights.
        operators: Names without their domain.

    Raises:
        OSError, ValueError: It cannot be read.
    """
    # `op_type` of a node is field 4: its key, its length, its letters.
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return frozenset(o for o in operators if data.find(b"\x22%c%s" % (len(o), o.encode())) >= 0)


def cpu_only_in(graph: Path) -> tuple[str, ...]:
    """Returns the operators of a graph that CUDA has no kernel for.

    Args:
        graph: A file that holds no weights. One that cannot be read has none here: opening it says
            why.
    """
    try:
        found = operators_in(graph, CPU_ONLY)
    except (OSError, ValueError):
        return ()
    return tuple(operator for operator in CPU_ONLY if operator in found)


def belongs_on_cpu(manifest: Manifest, graph: Path) -> bool:
    """Returns whether an artifact is for the CPU even where there is a GPU.

    Integers that were exported for the CPU are. Plain floats are the same graph for both. Where an
    old manifest does not say what it was made for, the operators do.

    Args:
        manifest: Of the artifact.
        graph: Its `model.onnx`.
    """
    integers = manifest.precision not in ACTIVATION_DTYPES
    return (manifest.target == "cpu" and integers) or bool(cpu_only_in(graph))


def left_on_cpu(session: Any) -> dict[str, int]:
    """Counts the nodes of a session that the CPU computes, by operator.

    The arithmetic of shapes is left out.

    Args:
        session: A session that was opened with `RECORD_PLACES`. A release that does not know of it
            has nothing to say.
    """
    there = nodes_by_provider(session).get(_CPU, {})
    return {operator: count for operator, count in there.items() if operator not in _OF_SHAPES}


def nodes_by_provider(session: Any) -> dict[str, dict[str, int]]:
    """Counts the nodes of a session, by the provider that computes them and by operator.

    Args:
        session: As for `left_on_cpu`.
    """
    places = getattr(session, "get_provider_graph_assignment_info", None)
    found: dict[str, Counter[str]] = {}
    for part in [] if places is None else places():
        found.setdefault(part.ep_name, Counter()).update(n.op_type for n in part.get_nodes())
    return {provider: dict(counted) for provider, counted in found.items()}
