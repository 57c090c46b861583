"""How the `portable` dialect writes attention and norms: plain patterns that every reader fuses.

For attention the exporter's own decomposition repeats keys and values for every query head and
computes sizes and scale in the graph. Here query heads that share a key head are laid one behind
the other, as if they were one longer sequence:

    [B, Hkv * G, S, D]  ->  [B, Hkv, G * S, D]      and the mask is stacked G times

so that keys and values are used as they are cached, and what remains between the two products is
the mask and the softmax alone, the pattern that TensorRT and others recognise. The norm divides by
the root, as ONNX Runtime's fusion expects it; the exporter would multiply with its reciprocal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import DTypeLike
from onnxscript import opset18, opset20

from dawn_export.errors import ExportError

op: Any = opset20
"""Operators of the dialect; they build nodes, their declared types are those of scripts."""

older: Any = opset18
"""Operators as the exporter's own translations have them."""


def translations(dialect: str) -> dict[Callable[..., Any], Callable[..., Any]]:
    """What the exporter shall translate by functions of ours: torch operator -> ONNX function.

    `to` and `chunk` are what it would make of them after decomposing; see
    `dawn_export.graph.shortcuts`.
    """
    aten = torch.ops.aten
    known: dict[Callable[..., Any], Callable[..., Any]] = {
        aten.to.dtype: converted,
        aten.chunk.default: chunked,
    }
    if dialect == "fused":
        return known
    return known | {
        aten.scaled_dot_product_attention.default: decomposed_attention,
        aten.rms_norm.default: decomposed_rms_norm,
    }


def converted(
    input: ir.Value,  # noqa: A002 - the signature of the torch operator
    dtype: int,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: str = "",
) -> ir.Value:
    """``input.to(dtype)``, whatever is said of memory."""
    cast: ir.Value = older.Cast(input, to=dtype)
    return cast


def chunked(
    input: ir.Value,  # noqa: A002 - the signature of the torch operator
    chunks: int,
    dim: int = 0,
) -> ir.Value:
    """``input.chunk(chunks, dim)`` along an axis of a fixed size."""
    axis = dim % (1 if input.shape is None else len(input.shape))
    size = -(-_size(input, axis) // chunks)
    parts: ir.Value = older.SplitToSequence(input, op.Constant(value_int=size), axis=axis)
    return parts


def decomposed_rms_norm(
    input: ir.Value,  # noqa: A002 - the signature of the torch operator
    normalized_shape: Any,
    weight: ir.Value,
    eps: float,
) -> ir.Value:
    """``x / sqrt(mean(x ** 2) + eps) * weight`` over the last axis, in float32."""
    x = op.Cast(input, to=ir.DataType.FLOAT)
    mean = op.ReduceMean(op.Pow(x, _scalar(2, np.float32)), _sizes(-1), keepdims=1)
    root = op.Sqrt(op.Add(mean, _scalar(eps, np.float32)))
    scaled: ir.Value = op.Mul(op.Cast(op.Div(x, root), to=_type(input)), weight)
    return scaled


def decomposed_attention(
    query: ir.Value,
    key: ir.Value,
    value: ir.Value,
    attn_mask: ir.Value,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> ir.Value:
    """``softmax(query @ key^T * D ** -0.5 + mask) @ value``.

    The lowest finite number stands for minus infinity: a row that sees nothing becomes useless,
    but not NaN, which would spread through the keys of the next layer.

    Args:
        query: [B, Hkv * G, S, D].
        key: [B, Hkv, T, D].
        value: [B, Hkv, T, D].
        attn_mask: bool [B, 1, S, T], True where the query may look.
        dropout_p: Must be 0, as in evaluation mode.
        is_causal: Must be false; the mask says it all.
        scale: Must be None, which stands for D ** -0.5.
        enable_gqa: Told by the shapes.

    Returns:
        [B, Hkv * G, S, D].

    Raises:
        ExportError: An argument asks for something else.
    """
    if dropout_p or is_causal or scale is not None:
        raise ExportError(
            f"attention with dropout {dropout_p}, causal {is_causal} and scale {scale} is not "
            "translated; only a mask is"
        )
    heads, width, kv_heads = _size(query, 1), _size(query, 3), _size(key, 1)
    dtype = _type(query).numpy()
    bias = op.Where(attn_mask, _scalar(0, dtype), _scalar(float(_type(query).min), dtype))
    if heads != kv_heads:
        bias = op.Concat(*[bias] * (heads // kv_heads), axis=2)
        query = op.Reshape(query, _sizes(0, kv_heads, -1, width))
    scores = op.MatMul(
        op.Mul(query, _scalar(width**-0.5, dtype)), op.Transpose(key, perm=[0, 1, 3, 2])
    )
    mixed: ir.Value = op.MatMul(op.Softmax(op.Add(scores, bias), axis=-1), value)
    if heads != kv_heads:
        mixed = op.Reshape(mixed, _sizes(0, heads, -1, width))
    return mixed


def _scalar(value: float, dtype: DTypeLike) -> Any:
    return op.Constant(value=ir.tensor(np.array(value, dtype=dtype)))


def _sizes(*sizes: int) -> Any:
    return op.Constant(value_ints=list(sizes))


def _size(value: ir.Value, axis: int) -> int:
    """Size of an axis that is fixed."""
    size = None if value.shape is None else value.shape[axis]
    if not isinstance(size, int):
        raise ExportError(f"axis {axis} of {value.name} is {size}, expected a fixed size")
    return size


def _type(value: ir.Value) -> ir.DataType:
    if value.dtype is None:
        raise ExportError(f"{value.name} has no type; use the pinned version of torch")
    return value.dtype
