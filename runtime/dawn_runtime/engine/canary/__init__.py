"""Canaries: tiny graphs of the operators of our graphs, whose right answers NumPy knows.

A release of an engine can compute an operator wrongly, and nothing but its numbers says so: ONNX
Runtime 1.23.0 gave heads that share keys the keys of others. So before an artifact is opened, the
operators of its graph are tried, once for each process, provider and type of activations; it takes
milliseconds. `dawn-doctor` tries all of them.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from dawn_runtime.engine.canary import floats, integers
from dawn_runtime.engine.canary.case import Array, Canary, Case
from dawn_runtime.engine.operators import operators_in

CANARIES: Final = (
    Canary("plain operators", (), floats.plain),
    Canary("fused operators", ("Attention", "RMSNormalization", "RotaryEmbedding"), floats.fused),
    Canary("dynamic INT8", ("DynamicQuantizeMatMul",), integers.dynamic, ("fp32",)),
    Canary("INT8 row by row", ("MatMulIntegerToFloat",), integers.rows, ("fp32",)),
    Canary("integers in blocks", ("MatMulNBits",), integers.blocks),
    Canary("embedding in blocks", ("GatherBlockQuantized",), integers.gathered),
    Canary("integers widened", ("DequantizeLinear",), integers.widened),
)
"""What is tried. The first has no operators of its own: every graph needs it."""


def needed_canaries(graph: Path) -> tuple[Canary, ...]:
    """Returns the canaries for the operators of an ONNX file; all graphs need the first.

    Args:
        graph: A file that holds no weights. One that cannot be read needs nothing here: opening it
            says why.
    """
    try:
        found = operators_in(graph, {name for canary in CANARIES for name in canary.operators})
    except (OSError, ValueError):
        return ()
    return tuple(c for c in CANARIES if not c.operators or found.intersection(c.operators))


@cache
def case_of(canary: Canary, activations: str) -> Case:
    """Returns the graph and the answers of a canary, made when they are first asked for."""
    return canary.build(activations)


def complaint(case: Case, found: Mapping[str, Array]) -> str:
    """Returns what is wrong with outputs, in a few words; empty if nothing is.

    Args:
        case: What was run.
        found: Its outputs.
    """
    for operator, expected in case.expected.items():
        got = np.asarray(found[operator], np.float64)
        if got.shape != expected.shape:
            return f"{operator} wrongly: got shape {got.shape}, expected {expected.shape}"
        error = np.where(np.isfinite(got), np.abs(got - expected), np.inf)
        if error.max() > case.tolerance * np.abs(expected).max():
            place = tuple(map(int, np.unravel_index(error.argmax(), error.shape)))
            return f"{operator} wrongly: got {got[place]:.4g}, expected {expected[place]:.4g}"
    return ""


__all__ = ["CANARIES", "Canary", "Case", "case_of", "complaint", "needed_canaries"]
