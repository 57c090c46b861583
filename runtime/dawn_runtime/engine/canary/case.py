"""A small graph with the numbers that have to come out of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dawn_runtime.engine.canary.onnx_writer import (
    ELEMENTS,
    FLOAT,
    Attribute,
    described,
    element_of,
    encoded,
    field,
    model_bytes,
    node_bytes,
    tensor_bytes,
)

Array = NDArray[Any]

MICROSOFT: Final = "com.microsoft"
TOLERANCES: Final = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 1e-1}
"""Activations -> largest error, as a share of the largest magnitude of an output."""

ROUNDED_TOLERANCE: Final = 3e-2
"""The same where a back end may choose how it rounds what a product reads."""


@dataclass(frozen=True, slots=True)
class Case:
    """A model and its answers.

    Attributes:
        model: The bytes of an ONNX model.
        inputs: What to feed.
        expected: Output, by the name of the operator it is of -> what has to come out, float32.
        tolerance: Largest error, as a share of the largest magnitude of an output.
    """

    model: bytes
    inputs: dict[str, Array]
    expected: dict[str, Array]
    tolerance: float


@dataclass(frozen=True, slots=True)
class Canary:
    """A case for every type of activations.

    Attributes:
        name: What it is about, for messages.
        operators: A graph with one of them needs it.
        build: Activations of the artifact -> case.
        activations: Those that it can be built for.
    """

    name: str
    operators: tuple[str, ...]
    build: Callable[[str], Case]
    activations: tuple[str, ...] = tuple(TOLERANCES)


class GraphWriter:
    """Collects nodes; numbers go in and come out in float32 and are computed in the activations.

    Args:
        activations: `fp32`, `fp16` or `bf16`.
    """

    def __init__(self, activations: str) -> None:
        self._element = ELEMENTS[activations]
        self._tolerance = TOLERANCES[activations]
        self._parts: dict[int, list[bytes]] = {1: [], 5: [], 11: [], 12: []}
        self._domains: set[str] = set()
        self._count = 0
        self._inputs: dict[str, Array] = {}
        self._expected: dict[str, Array] = {}

    def input(self, name: str, array: Array) -> str:
        """Adds an input and returns the name of its value, in the activations if it is float32."""
        self._inputs[name] = array
        element = element_of(array)
        self._parts[11].append(described(name, element, array.shape))
        if element != FLOAT or self._element == FLOAT:
            return name
        return self.node("Cast", name, to=self._element)

    def constant(self, array: Array, element: int | None = None) -> str:
        """Adds a constant, in the activations if it is float32 and no type is given."""
        if element is None:
            element = element_of(array)
            element = self._element if element == FLOAT else element
        name = self._name("constant")
        data = encoded(array, element)
        self._parts[5].append(tensor_bytes(name, element, array.shape, data))
        return name

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: Attribute) -> str:
        """Adds a node of one output and returns its name; an empty input is left out."""
        return self.nodes(operator, *inputs, outputs=1, domain=domain, **attributes)[0]

    def nodes(
        self,
        operator: str,
        *inputs: str,
        outputs: int,
        domain: str = "",
        **attributes: Attribute,
    ) -> list[str]:
        """Adds a node of several outputs and returns their names."""
        names = [self._name(operator) for _ in range(outputs)]
        self._parts[1].append(node_bytes(operator, inputs, names, domain, attributes))
        if domain:
            self._domains.add(domain)
        return names

    def output(self, name: str, value: str, expected: Array, *, cast: bool = True) -> None:
        """Makes a value an output of a name; `cast` is for values in the activations."""
        operator = "Cast" if cast else "Identity"
        attributes = {"to": FLOAT} if cast else {}
        self._parts[1].append(node_bytes(operator, [value], [name], "", attributes))
        array = expected if not cast else expected.astype(np.float32)
        self._parts[12].append(described(name, element_of(array), array.shape))
        self._expected[name] = array

    def case(self, opset: int, ir_version: int, *, rounded: bool = False) -> Case:
        """Returns what was collected; `rounded` if products round what they read."""
        parts = [field(number, part) for number, all_ in self._parts.items() for part in all_]
        graph = b"".join([*parts, field(2, b"canary")])
        return Case(
            model=model_bytes(graph, opset, ir_version, sorted(self._domains)),
            inputs=self._inputs,
            expected=self._expected,
            tolerance=max(self._tolerance, ROUNDED_TOLERANCE if rounded else 0),
        )

    def _name(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"


def waves(*shape: int, step: float, scale: float = 1.0) -> Array:
    """Returns float32 numbers from -scale to scale without a pattern that heads could share."""
    numbers = np.arange(np.prod(shape), dtype=np.float64)
    return (scale * np.sin(step * numbers + step)).astype(np.float32).reshape(shape)
