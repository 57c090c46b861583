"""Passes of torch's ONNX exporter, left out where they would change nothing.

Between capturing a module and translating it the exporter traces it again twice: to decompose
operators that have no translation, and to insert conversions where operators mix types. That is
more than half of the time that a piece takes. Whether there is anything to do can be read off the
captured program, and of the pieces of a model there is not: `translations` has what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg
from torch.onnx._internal.exporter import _fx_passes
from torch.onnx._internal.exporter._registration import ONNXRegistry
from torch.onnx._internal.fx.passes import type_promotion
from torch.onnx._internal.fx.type_utils import from_scalar_type_to_torch_dtype
from torch.utils._pytree import tree_leaves

from dawn_export.graph.translation_table import TranslationTable

_aten = torch.ops.aten

_ASSERTIONS = {
    _aten.sym_constrain_range_for_size.default,
    _aten._assert_async.default,
    _aten._assert_async.msg,
    _aten._assert_scalar.default,
    _aten._assert_tensor_metadata.default,
}
"""What the exporter erases before it translates."""

_decompose = _fx_passes.decompose_with_registry
_promote = _fx_passes.insert_type_promotion_nodes


@contextmanager
def only_what_is_needed() -> Iterator[None]:
    """Exports inside the block skip passes and look translations up as they are needed."""
    with (
        patch.object(ONNXRegistry, "from_torchlib", staticmethod(TranslationTable)),
        patch.object(_fx_passes, "decompose_with_registry", _decomposed),
        patch.object(_fx_passes, "insert_type_promotion_nodes", _promoted),
    ):
        yield


def _decomposed(program: ExportedProgram, table: TranslationTable) -> ExportedProgram:
    if all(_is_translated(node, table) for node in program.graph.nodes):
        return program
    table.fill()
    return _decompose(program, table)


def _is_translated(node: Node, table: TranslationTable) -> bool:
    """Whether an operator is known to the exporter, and writes into none of its arguments."""
    if node.op != "call_function":
        return node.op in ("placeholder", "output")
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        known = target in _ASSERTIONS or table.is_registered(target)
        return known and not target._schema.is_mutable
    return not isinstance(target, torch._ops.OperatorBase)  # arithmetic of sizes


def _promoted(module: GraphModule) -> None:
    table = type_promotion.TypePromotionTable()
    if any(_mixes_types(node, table) for node in module.graph.nodes):
        _promote(module)


def _mixes_types(node: Node, table: type_promotion.TypePromotionTable) -> bool:
    """Whether an argument has another type than the operator computes in."""
    if node.op != "call_function":
        return node.op not in ("placeholder", "output")
    rule = type_promotion.get_type_promotion_rule(node, table)
    if rule is None:
        return False
    arguments: dict[Any, Any] = {**dict(enumerate(node.args)), **node.kwargs}
    values = map_arg(arguments, _value)
    positional = tuple(values[place] for place in range(len(node.args)))
    wanted = rule.preview_type_promotion(positional, {name: values[name] for name in node.kwargs})
    computed_in: dict[Any, Any] = {**wanted.args_dtypes, **wanted.kwargs_dtypes}
    return any(
        _dtype(leaf) != dtype
        for place, dtype in computed_in.items()
        for leaf in tree_leaves(values[place])
    )


def _value(node: Node) -> Any:
    """The fake tensor, or the number, that stands for what a node computes."""
    return node.meta["val"]


def _dtype(value: object) -> torch.dtype | None:
    """The type of a tensor, or the one that the exporter takes a number to be of."""
    if isinstance(value, torch.Tensor):
        return value.dtype
    return from_scalar_type_to_torch_dtype(type(value))
