"""Products that read the same rows become one, whose columns are the columns of all of them.

    x @ Wq + bq,  x @ Wk + bk,  x @ Wv + bv   ->   Split(x @ [Wq Wk Wv] + [bq bk bv])

One product of 1152 columns instead of three of 896, 128 and 128 keeps every core busy, and rows
that are quantised are quantised once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from dawn_export.weights.layout import Layout, sizes

Layouts = dict[str, Layout]
"""Weight of a trace -> how it is stored; members are weights of the trace before any pass."""


def fuse_products(graph: ir.Graph, layouts: Layouts, groups: Mapping[str, Sequence[str]]) -> None:
    """Fuses ``MatMul(x, w)``, each followed by ``Add(bias)`` or none of them.

    Args:
        graph: Where they are; weights are inputs, and stored [in, out].
        layouts: How every weight is stored; those that were fused are replaced.
        groups: Name of a fused product -> names of the products it is made of, without
            ``.weight`` and ``.bias``, in the order of the columns.
    """
    inputs = {value.name: value for value in graph.inputs}
    for fused, names in groups.items():
        weights = [inputs[f"{name}.weight"] for name in names]
        products = [weight.consumers()[0] for weight in weights]
        weight = _together(graph, layouts, f"{fused}.weight", weights)
        product = ir.node("MatMul", [products[0].inputs[0], weight])
        graph.insert_before(products[0], product)
        ends = products
        if f"{names[0]}.bias" in inputs:
            biases = [inputs[f"{name}.bias"] for name in names]
            ends = [bias.consumers()[0] for bias in biases]
            bias = _together(graph, layouts, f"{fused}.bias", biases)
            added = ir.node("Add", [product.outputs[0], bias])
            graph.insert_after(product, added)
            product = added
        _split(graph, product, ends, [sizes(value)[-1] for value in weights])
        graph.remove(dict.fromkeys([*ends, *products]), safe=True)


def _together(graph: ir.Graph, layouts: Layouts, name: str, values: Sequence[ir.Value]) -> ir.Value:
    """An input in place of several: their last axes one behind the other."""
    parts = [layouts.pop(str(value.name)) for value in values]
    members = tuple(member for part in parts for member in part.members)
    layouts[name] = Layout(members, parts[0].transposed)
    columns = sum(sizes(value)[-1] for value in values)
    shape = ir.Shape([*sizes(values[0])[:-1], columns])
    fused = ir.Value(name=name, type=values[0].type, shape=shape)
    graph.inputs[graph.inputs.index(values[0])] = fused
    for value in values[1:]:
        graph.inputs.remove(value)
    return fused


def _split(graph: ir.Graph, product: ir.Node, ends: Sequence[ir.Node], widths: list[int]) -> None:
    """Gives every reader of the old products its columns of the new one."""
    name = f"{ends[0].outputs[0].name}/columns"
    sizes = ir.Value(name=name, const_value=ir.tensor(np.array(widths, np.int64), name=name))
    graph.register_initializer(sizes)
    columns = ir.node("Split", [product.outputs[0], sizes], {"axis": -1}, num_outputs=len(ends))
    graph.insert_after(product, columns)
    for end, output in zip(ends, columns.outputs, strict=True):
        output.shape, output.type = end.outputs[0].shape, end.outputs[0].type
        end.outputs[0].replace_all_uses_with(output)
