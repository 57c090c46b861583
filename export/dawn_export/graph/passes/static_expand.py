"""Expansions whose sizes are numbers, not computed in the graph.

The exporter gathers every size with `Shape` and glues them together with `Concat`. `Expand` leaves
an axis as it is where the size is 1, so only the axes that grow have to be told, and those are
fixed.
"""

from __future__ import annotations

import onnx_ir as ir

from dawn_export.graph.passes.static_sizes import with_static_sizes


def make_expands_static(graph: ir.Graph) -> int:
    """Replaces computed sizes of expansions by numbers where the shapes found in tracing allow it.

    Returns:
        How many expansions were changed.
    """
    return len(with_static_sizes(graph, "Expand", _static_sizes))


def _static_sizes(source: ir.Shape, target: ir.Shape) -> list[int] | None:
    # Axes are counted from the last one, as in broadcasting.
    there = [1] * (len(target) - len(source)) + list(source)
    sizes = [1 if wanted == own else wanted for wanted, own in zip(target, there, strict=True)]
    numbers = [size for size in sizes if isinstance(size, int)]
    return numbers if len(numbers) == len(sizes) else None
