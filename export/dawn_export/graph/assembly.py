"""Putting traces together: copies of their nodes in one graph, with readable names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from dawn_export.dtypes import ONNX_DTYPES
from dawn_export.graph.tracing import Trace
from dawn_export.weights.layout import INPUT_SCALE, SCALE, Layout, StoredWeight
from dawn_runtime.contract import TensorSpec


@dataclass(frozen=True, slots=True)
class Part:
    """A prepared trace.

    Attributes:
        trace: Its graph.
        layouts: Weight of the trace -> how it is stored.
    """

    trace: Trace
    layouts: dict[str, Layout]


@dataclass(slots=True)
class Assembly:
    """Grows a graph by calling parts.

    Attributes:
        nodes: Nodes so far, in order.
        weights: Name -> what is stored under it, in the order of first use.
        ranges: ``layers.0.qkv_proj`` -> scale of the rows that product reads, a scalar.
        constants: Small constants, each distinct one once.
    """

    nodes: list[ir.Node] = field(default_factory=list)
    weights: dict[str, StoredWeight] = field(default_factory=dict)
    ranges: dict[str, ir.Value] = field(default_factory=dict)
    constants: dict[tuple[object, ...], ir.Value] = field(default_factory=dict)

    def call(
        self,
        part: Part,
        prefix: str,
        inputs: Sequence[ir.Value],
        parameter: Callable[[str], str],
    ) -> dict[str, ir.Value]:
        """Adds a copy of a part.

        Args:
            part: What to copy.
            prefix: Put before the names of nodes and values that belong to no weight.
            inputs: What the inputs of the piece stand for, in order.
            parameter: Name of a weight in the trace -> name of the parameter.

        Returns:
            Output of the piece -> value in this graph.
        """
        trace = part.trace
        weights = {weight: parameter(_name(weight)) for weight in trace.weights}
        values = dict(zip(trace.graph.inputs, inputs, strict=False))
        for weight, name in weights.items():
            values[weight] = self._initializer(part, weight, name, parameter)
        for constant in trace.graph.initializers.values():
            values[constant] = self._constant(constant)
        for i, node in enumerate(trace.graph):
            read = next((weights[value] for value in node.inputs if value in weights), None)
            place = f"{prefix}/{node.op_type}_{i}"
            name = f"{read.rpartition('.')[0]}/{node.op_type}" if read else place
            self.nodes.append(_copy(node, values, name))
        outputs = (values[value] for value in trace.graph.outputs)
        return dict(zip(trace.outputs, outputs, strict=True))

    def _initializer(
        self, part: Part, traced: ir.Value, name: str, parameter: Callable[[str], str]
    ) -> ir.Value:
        """What an input of a trace that is no input of the piece stands for."""
        if name.endswith(INPUT_SCALE):
            value = ir.Value(name=name, shape=traced.shape, type=traced.type)
            return self.ranges.setdefault(name.removesuffix(INPUT_SCALE), value)
        weight = name.removesuffix(SCALE)
        if weight not in self.weights:
            layout = part.layouts[_name(traced)]
            members = tuple(map(parameter, layout.members))
            self.weights[weight] = StoredWeight(weight, replace(layout, members=members))
        stored = self.weights[weight]
        same = stored.values if weight == name else stored.scales
        return _one_of(same, name, traced)

    def _constant(self, traced: ir.Value) -> ir.Value:
        tensor = traced.const_value
        if tensor is None:
            raise ValueError(f"initializer {traced.name} of a trace has no value")
        array = tensor.numpy()
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.constants:
            name = f"constants.{len(self.constants)}"
            self.constants[key] = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        return self.constants[key]


def _copy(node: ir.Node, values: dict[ir.Value, ir.Value], name: str) -> ir.Node:
    """Copies a node onto other inputs, under another name, and notes its outputs in `values`."""
    inputs = [None if value is None else values[value] for value in node.inputs]
    attributes = list(node.attributes.values())
    copy = ir.Node(
        node.domain, node.op_type, inputs, attributes, num_outputs=len(node.outputs), name=name
    )
    for i, (traced, value) in enumerate(zip(node.outputs, copy.outputs, strict=True)):
        value.name = name if len(node.outputs) == 1 else f"{name}.{i}"
        values[traced] = value
    return copy


def _one_of(values: list[ir.Value], name: str, traced: ir.Value) -> ir.Value:
    """The value of this shape; the same bytes can be wanted in several shapes."""
    for value in values:
        if value.shape == traced.shape:
            return value
    name = f"{name}.{len(values)}" if values else name
    values.append(ir.Value(name=name, shape=traced.shape, type=traced.type))
    return values[-1]


def _name(value: ir.Value) -> str:
    """Its name; values of a trace have one."""
    if value.name is None:
        raise ValueError(f"{value} has no name")
    return value.name


def graph_value(spec: TensorSpec) -> ir.Value:
    """An input or output as the contract describes it."""
    return ir.Value(
        name=spec.name,
        shape=ir.Shape(spec.shape),
        type=ir.TensorType(ONNX_DTYPES[spec.dtype]),
    )
