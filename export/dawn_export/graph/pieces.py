"""The transformer cut into the four pieces that are traced.

    enter      ids, positions, mask                      -> residual stream, angles, evidence mask
    layer      residual stream, angles, masks, cache     -> residual stream, keys, values, queries
    evidence   queries and keys of one layer             -> attention of the asked rows
    leave      residual stream, attention of the layers  -> the outputs of the step contract

Layers of one kind compute the same thing with other weights, so one of each kind is traced and the
graph repeats it: tracing takes the same few seconds for 4 layers and for 80. Axes are named as in
the step contract.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from torch import Tensor, nn

from dawn_export.dtypes import TORCH_DTYPES
from dawn_export.graph.packed_keys import JOININGS
from dawn_models import Attention, KeyValue, LayerKind, ModelConfig, Transformer, parameter_shapes
from dawn_models.transformer import Evidence, Joining, Rotation, mean_attention
from dawn_runtime.contract import DRAFT_MASK, TensorSpec, kv_kind, kv_width

LEFT: Final = ("tokens", "confidence", "attention", "logits", "entropy", "margin")
"""What `leave` computes, in the order of the contract."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One module to trace. Equal pieces have equal traces.

    Attributes:
        module: What to trace; takes the inputs in order.
        inputs: Its inputs; names of axes are those of the step contract.
        outputs: Names of what it returns.
        source: What the module is made from: with equal sources, modules compute the same.
    """

    module: nn.Module = field(compare=False)
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]
    source: Hashable


@dataclass(frozen=True, slots=True)
class Pieces:
    """The pieces of a model.

    Attributes:
        enter: What comes before the layers.
        layers: Kind of layer -> a layer of that kind.
        evidence: Attention of the asked rows in one layer.
        leave: What comes after the layers.
    """

    enter: Piece
    layers: Mapping[LayerKind, Piece]
    evidence: Piece
    leave: Piece


def cut(config: ModelConfig, dtype: str, evidence_layers: int, kept: str) -> Pieces:
    """Cuts a model into pieces; call it under `tracing.weightless`, weights then take no memory.

    Args:
        config: Geometry of the model.
        dtype: Element type of weights and of the residual stream.
        evidence_layers: How many attentions `leave` takes the mean of.
        kept: Element type of cached keys and values.
    """
    model = _weightless(config, TORCH_DTYPES[dtype], JOININGS[kv_kind(kept)])
    return Pieces(
        enter=_enter(model, dtype),
        layers={kind: _layer(model, i, dtype, kept) for i, kind in enumerate(config.kinds)},
        evidence=_evidence(config, dtype),
        leave=_leave(model, config, dtype, evidence_layers),
    )


def held_by_graphs(config: ModelConfig) -> ModelConfig:
    """Returns a model without what no graph holds, so that models of one shape share their traces.

    What a position may see, which row predicts a token and what ends an answer are the runtime's.
    """
    return replace(
        config, family="", shift=0, eos_token_ids=(), pad_token_id=None, attention=Attention()
    )


def _weightless(config: ModelConfig, dtype: torch.dtype, join: Joining) -> Transformer:
    """A transformer of one layer of each kind, its parameters made by the surrounding fake mode."""
    config = held_by_graphs(config.of_layers(config.kinds))
    with torch.device("meta"):
        model = Transformer(config, join)
    shapes = parameter_shapes(config)
    weights = {name: torch.empty(shape, dtype=dtype) for name, shape in shapes.items()}
    if config.tied_head:
        weights["head.weight"] = weights["embedding.weight"]
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def _enter(model: Transformer, dtype: str) -> Piece:
    inputs = (
        TensorSpec("input_ids", "int64", ("B", "S")),
        TensorSpec("position_ids", "int64", ("B", "S")),
        TensorSpec("attention_mask", "bool", ("B", 1, "S", "P+S")),
        TensorSpec("attention_rows", "int64", ("B", "Q")),
    )
    return Piece(Enter(model), inputs, ("x", "cos", "sin", "seen"), (Enter, model.config, dtype))


def _layer(model: Transformer, number: int, dtype: str, kept: str) -> Piece:
    config = model.config
    angle = ("float32", ("B", 1, "S", config.head_dim // 2))
    past = (kept, ("B", config.num_kv_heads, "P", kv_width(config.head_dim, kept)))
    inputs = (
        TensorSpec("x", dtype, ("B", "S", config.hidden_size)),
        TensorSpec("cos", *angle),
        TensorSpec("sin", *angle),
        TensorSpec("attention_mask", "bool", ("B", 1, "S", "P+S")),
        TensorSpec("past_key", *past),
        TensorSpec("past_value", *past),
        *([TensorSpec(DRAFT_MASK, "bool", ("B", "S"))] if config.draft else []),
    )
    outputs = ("x", "present_key", "present_value", "query", "keys")
    return Piece(RunLayer(model, number), inputs, outputs, (RunLayer, config, number, kept))


def _evidence(config: ModelConfig, dtype: str) -> Piece:
    inputs = (
        TensorSpec("query", dtype, ("B", config.num_heads, "S", config.head_dim)),
        TensorSpec("keys", dtype, ("B", config.num_kv_heads, "P+S", config.head_dim)),
        TensorSpec("attention_rows", "int64", ("B", "Q")),
        TensorSpec("seen", "bool", ("B", "Q", "P+S")),
    )
    return Piece(MeanAttention(), inputs, ("attention",), MeanAttention)


def _leave(model: Transformer, config: ModelConfig, dtype: str, evidence_layers: int) -> Piece:
    attention = ("float32", ("B", "Q", "P+S"))
    inputs = (
        TensorSpec("x", dtype, ("B", "S", config.hidden_size)),
        TensorSpec("logit_rows", "int64", ("B", "R")),
        TensorSpec("entropy_rows", "int64", ("B", "E")),
        *(TensorSpec(f"attention.{i}", *attention) for i in range(evidence_layers)),
    )
    return Piece(Leave(model), inputs, LEFT, (Leave, model.config))


class Enter(nn.Module):
    """What comes before the layers."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        attention_mask: Tensor,
        attention_rows: Tensor,
    ) -> tuple[Tensor, ...]:
        """See `Transformer.enter`."""
        x, rotation, seen = self.model.enter(
            input_ids, position_ids, attention_mask, attention_rows
        )
        return x, rotation.cos, rotation.sin, seen


class RunLayer(nn.Module):
    """One layer, with the queries and keys that its evidence is made of."""

    def __init__(self, model: Transformer, number: int) -> None:
        super().__init__()
        self.layer = model.layers[number]

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        attention_mask: Tensor,
        past_key: Tensor,
        past_value: Tensor,
        *drafts: Tensor,
    ) -> tuple[Tensor, ...]:
        """See `Layer.forward`; `drafts` is one mask where there is an adapter, else nothing."""
        past = KeyValue(past_key, past_value)
        result = self.layer(x, Rotation(cos, sin), attention_mask, past, *drafts)
        return result.x, result.new.key, result.new.value, result.query, result.keys


class MeanAttention(nn.Module):
    """Attention of the asked rows in one layer, mean over its heads."""

    def forward(self, query: Tensor, keys: Tensor, attention_rows: Tensor, seen: Tensor) -> Tensor:
        """See `mean_attention`."""
        return mean_attention(query, keys, Evidence(attention_rows, seen))


class Leave(nn.Module):
    """What comes after the layers."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, x: Tensor, logit_rows: Tensor, entropy_rows: Tensor, *attention: Tensor
    ) -> tuple[Tensor, ...]:
        """See `Transformer.leave`."""
        return self.model.leave(x, logit_rows, entropy_rows, list(attention))
