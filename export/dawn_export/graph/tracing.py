"""From a torch module to a small ONNX graph, by `torch.onnx.export`.

The result is a `Trace`: weights are inputs of its graph, so no pass can fold or copy them, and
nothing of the exporter's naming is left outside of it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import onnx_ir as ir
import onnxscript
import torch
import torch._dynamo  # as everything that traces does, but while it is said that torch loads
from torch._subclasses.fake_tensor import FakeTensorMode

from dawn_export.collection import collection_paused
from dawn_export.dtypes import TORCH_DTYPES
from dawn_export.errors import ExportError
from dawn_export.graph.pieces import Piece
from dawn_export.graph.translations import translations
from dawn_runtime.contract import TensorSpec

_SHORTCUTS_OF: Final = (("2", "13"), ("0", "7"))
"""Releases of torch and onnxscript whose insides `shortcuts` knows."""

_EXAMPLE_SIZES = {"B": 2, "S": 5, "P": 7, "R": 3, "Q": 11, "E": 4, "P+S": 12}
"""Sizes for tracing: all different and above 1, so that none is taken for another or for fixed."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The graph of one piece.

    Attributes:
        graph: Its inputs are those of the piece followed by the weights; every initializer is a
            small constant.
        inputs: Names of the inputs of the piece, without weights.
        outputs: Names of what it returns, in the order of the graph's outputs.
    """

    graph: ir.Graph
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def weights(self) -> tuple[ir.Value, ...]:
        """The inputs that are weights, named as in the traced module."""
        return tuple(self.graph.inputs[len(self.inputs) :])


@contextmanager
def weightless() -> Iterator[None]:
    """Makes tensors inside the block have types and sizes, but no values.

    What operators make of them is not remembered: that takes a quarter of the time, and few come
    twice.
    """
    with torch._dynamo.config.patch(fake_tensor_cache_enabled=False), FakeTensorMode():
        yield


def trace(piece: Piece, opset: int, dialect: str) -> Trace:
    """Exports one piece and optimises its graph; call it under `weightless`.

    A piece takes seconds and has a graph of some kilobytes, which is kept: the graph of the first
    layers that is verified, for one, is made of the pieces of the whole. What is returned is a copy
    that may be changed.

    Raises:
        ExportError: The exporter failed, or fixed an axis that must stay dynamic.
    """
    traced = _traced(piece, opset, dialect)
    return replace(traced, graph=traced.graph.clone())


@lru_cache(maxsize=64)
def _traced(piece: Piece, opset: int, dialect: str) -> Trace:
    model = _exported(piece, opset, dialect)
    _weights_to_inputs(model.graph)
    onnxscript.optimizer.optimize_ir(model)
    _check_axes(model.graph, piece)
    return Trace(model.graph, tuple(spec.name for spec in piece.inputs), piece.outputs)


def _exported(piece: Piece, opset: int, dialect: str) -> ir.Model:
    with _without_noise(), _shortcuts(), collection_paused():
        try:
            program = torch.onnx.export(
                piece.module.eval(),
                tuple(_example(spec) for spec in piece.inputs),
                dynamo=True,
                opset_version=opset,
                dynamic_shapes=_dynamic_shapes(piece),
                custom_translation_table=translations(dialect),
                optimize=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error).partition("\n")[0]
            raise ExportError(f"{_name(piece)}: torch cannot export it: {reason}") from error
    if program is None:
        raise ExportError(f"{_name(piece)}: torch {torch.__version__} exported nothing")
    return program.model


def _shortcuts() -> AbstractContextManager[None]:
    """Leaves out what makes no difference; other releases trace in full, to the same graph."""
    releases = (torch.__version__, onnxscript.__version__)
    if tuple(tuple(release.split(".")[:2]) for release in releases) != _SHORTCUTS_OF:
        return nullcontext()
    from dawn_export.graph.shortcuts import only_what_is_needed

    return only_what_is_needed()


def _name(piece: Piece) -> str:
    return type(piece.module).__name__


def _example(spec: TensorSpec) -> torch.Tensor:
    sizes = [size if isinstance(size, int) else _EXAMPLE_SIZES[size] for size in spec.shape]
    return torch.zeros(sizes, dtype=TORCH_DTYPES[spec.dtype])


def _dynamic_shapes(piece: Piece) -> tuple[object, ...]:
    """Every named axis is dynamic; `*args` of the module want their own tuple."""
    # Sums of axes cannot be declared; where P and S are there too, the exporter finds out itself.
    known = {size for spec in piece.inputs for size in spec.shape}
    free = torch.export.Dim.AUTO if {"P", "S"} <= known else torch.export.Dim("T")
    axes = {name: torch.export.Dim(name) for name in "BSPRQE"} | {"P+S": free}
    shapes = [
        {i: axes[size] for i, size in enumerate(spec.shape) if isinstance(size, str)}
        for spec in piece.inputs
    ]
    fixed = piece.module.forward.__code__.co_argcount - 1
    return (*shapes[:fixed], *([tuple(shapes[fixed:])] if len(shapes) > fixed else []))


def _weights_to_inputs(graph: ir.Graph) -> None:
    """Turns the exporter's initializers, placeholders without values, into inputs."""
    for name, value in list(graph.initializers.items()):
        del graph.initializers[name]
        value.const_value = None
        graph.inputs.append(value)


def _check_axes(graph: ir.Graph, piece: Piece) -> None:
    for spec, value in zip(piece.inputs, graph.inputs, strict=False):
        fixed = value.shape is None or any(
            isinstance(wanted, str) and isinstance(found, int)
            for wanted, found in zip(spec.shape, value.shape, strict=True)
        )
        if fixed:
            raise ExportError(
                f"{_name(piece)}: input {spec.name} was exported as {value.shape}, "
                f"expected dynamic axes {list(spec.shape)}; use the pinned version of torch"
            )


@contextmanager
def _without_noise() -> Iterator[None]:
    """Silences what the exporter says about itself; anything else still reaches the user."""
    # It lists the operators of torchvision it could not register: we use none of them.
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Two inputs with the same axis: only one of them gives its name, as it should be.
            warnings.filterwarnings("ignore", "# The axis name: .* will not be used", UserWarning)
            # torch copies its own pytree classes in a way that it deprecates.
            warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)`", FutureWarning)
            yield
    finally:
        registration.setLevel(level)
