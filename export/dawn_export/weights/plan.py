"""How the weights of a model will be stored, known before its graph is traced.

==============  ==================================================================================
vectors         as they are; biases of products that are fused, one behind the other
embedding       [V, hidden]; integers that a tied head multiplies too are turned, [hidden, V]
other matrices  [in, out], as products read them; of fused ones the columns stand side by side
in blocks       [out, in], each row in blocks of input channels with a scale
==============  ==================================================================================

So weights can be written while torch traces. The graph has layouts of its own, which come from what
was traced; `write.point_to` compares them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from dawn_export.dtypes import TORCH_DTYPES
from dawn_export.quantization.integers import block_size
from dawn_export.quantization.schemes import Scheme
from dawn_export.weights.layout import Integers, Layout
from dawn_models import ModelConfig, parameter_shapes
from dawn_models.anatomy import full_name, linear_of, split_name
from dawn_runtime import contract

_EMBEDDING = "embedding.weight"


def plan(config: ModelConfig, scheme: Scheme) -> dict[str, Layout]:
    """Name of every stored weight -> how it is stored.

    Raises:
        ExportError: A matrix cannot be stored in the blocks that the scheme asks for.
    """
    shapes = parameter_shapes(config)
    members: dict[str, tuple[str, ...]] = {}
    for parameter in shapes:
        name = _stored_as(config, parameter)
        members[name] = (*members.get(name, ()), parameter)
    return {name: _layout(config, scheme, own, shapes[own[0]]) for name, own in members.items()}


def _stored_as(config: ModelConfig, parameter: str) -> str:
    """The name of what a parameter becomes a part of; its own, where it stays alone."""
    owner, _, kind = parameter.rpartition(".")
    layer, _ = split_name(parameter)
    linear = linear_of(config, f"{owner}.weight")
    if layer is None or linear is None or linear.fused is None:
        return parameter
    return f"{full_name(layer, linear.fused)}.{kind}"


def _layout(
    config: ModelConfig, scheme: Scheme, members: tuple[str, ...], shape: tuple[int, ...]
) -> Layout:
    """How parameters of one shape, or of one width, are stored together."""
    if len(shape) == 1:
        return Layout(members)
    gathered = members == (_EMBEDDING,)
    product = scheme.product(members[0], config)
    if product.plain:
        return Layout(members, not gathered)
    block = block_size(members[0], shape[1], product.block)
    if product.arithmetic == "blocks":
        return Layout(members, False, Integers(product.bits, block, 2 ** (product.bits - 1)))
    return Layout(members, config.tied_head or not gathered, Integers(product.bits, block))


def stored_bytes(layout: Layout, shapes: Mapping[str, tuple[int, ...]], item: int) -> list[int]:
    """Bytes of a stored weight, and of its scales where it has some.

    Args:
        layout: How it is stored.
        shapes: Parameter -> its shape in the checkpoint.
        item: Bytes of a scale, or of a value that is no integer.
    """
    values = sum(math.prod(shapes[name]) for name in layout.members)
    integers = layout.integers
    if integers is None:
        return [values * item]
    return [values * integers.bits // 8, values // integers.block * item]


def item_bytes(scheme: Scheme) -> int:
    """Bytes of a scale, or of a value that is no integer."""
    return TORCH_DTYPES[contract.activation_dtype(scheme.activations)].itemsize
