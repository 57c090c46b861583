"""How parameters lie in the data file: which bytes an initializer of the graph stands for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import onnx_ir as ir

SCALE: Final = ".scale"
"""Ending of the name of a weight's scales."""

INPUT_SCALE: Final = ".input.scale"
"""Ending of the name of the scale of what a product reads."""


def sizes(value: ir.Value) -> tuple[int, ...]:
    """Dimensions of a weight, which are all fixed.

    Raises:
        ValueError: One of them is not.
    """
    if value.shape is None:
        raise ValueError(f"{value.name} has no shape")
    return tuple(value.shape.numpy())


@dataclass(frozen=True, slots=True)
class Integers:
    """A matrix [out, in] stored as small integers.

    Attributes:
        bits: 8 or 4; two of 4 bits share a byte, the first in its low half.
        block: Input channels that share a scale.
        offset: Added to every integer: 0 where they are signed, else 128 or 8.
    """

    bits: int
    block: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """How one matrix or vector is stored.

    Attributes:
        members: Parameters it is made of, one below the other along the first axis.
        transposed: Whether the file holds [in, out]; scales then are [in / block, out].
        integers: None where the values have the type of the activations.
    """

    members: tuple[str, ...]
    transposed: bool = False
    integers: Integers | None = None


@dataclass(slots=True)
class StoredWeight:
    """One stored matrix or vector and the initializers that stand for it.

    Attributes:
        name: In the graph; that of the parameter where it is made of one.
        layout: How it is stored; members are parameters of our transformer.
        values: Initializers of its bytes, which differ in shape alone.
        scales: Initializers of its scales; empty without integers.
    """

    name: str
    layout: Layout
    values: list[ir.Value] = field(default_factory=list)
    scales: list[ir.Value] = field(default_factory=list)

    @property
    def initializers(self) -> tuple[ir.Value, ...]:
        """All of them."""
        return (*self.values, *self.scales)
