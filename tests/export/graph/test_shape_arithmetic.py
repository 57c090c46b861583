"""No step computes sizes in the graph, and what says so computes what the exporter wrote."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch._subclasses.fake_tensor import FakeTensorMode

from dawn_export import ExportOptions
from dawn_export.graph.passes import (
    copy_rows_whole,
    cut_reductions,
    make_expands_static,
    make_reshapes_static,
)
from dawn_export.graph.pieces import Piece, cut
from dawn_export.graph.step import build_graph
from dawn_export.graph.tracing import trace
from dawn_models import ModelConfig, read_config
from dawn_runtime.contract import TensorSpec
from support.calibrations import made_up
from support.checkpoints import write_config
from support.shape_arithmetic import TIED_HEAD, shape_arithmetic

SCHEMES = [
    ("cpu", "int8"),
    ("cpu", "int4"),
    ("cuda", "bf16"),
    ("tensorrt", "int8"),
    ("tensorrt", "int4-int8"),
]
"""Target and precision; every arithmetic, type and dialect is among them."""

TIED = {
    ("cpu", "fp32"): TIED_HEAD,
    ("cpu", "int8"): [],
    ("cuda", "int4"): [],
    ("tensorrt", "fp16"): [],
    ("tensorrt", "int8"): [],
}
"""The same with a tied head: an ordinary product where the embedding is rounded, and always with
TensorRT."""


def config_of(folder: Path, **changes: Any) -> ModelConfig:
    write_config(folder, "dream", intermediate_size=32, **changes)
    return read_config(folder)[1]


def built(config: ModelConfig, target: str, precision: str) -> list[str]:
    ranged = target == "tensorrt" and "int8" in precision
    calibration = made_up(config) if ranged else None
    options = ExportOptions(target, precision, evidence_layers=2, calibration=calibration)
    return shape_arithmetic(ir.to_proto(build_graph(config, options).model).graph)


@pytest.mark.parametrize(("target", "precision"), SCHEMES)
def test_a_step_computes_no_shape(tmp_path: Path, target: str, precision: str) -> None:
    assert built(config_of(tmp_path), target, precision) == []


@pytest.mark.parametrize(("target", "precision"), TIED)
def test_a_tied_head_computes_one_with_onnx_runtime_alone(
    tmp_path: Path, target: str, precision: str
) -> None:
    tied = config_of(tmp_path, tie_word_embeddings=True)
    assert built(tied, target, precision) == TIED[target, precision]


def test_keys_in_bytes_compute_none_either(tmp_path: Path) -> None:
    options = ExportOptions("tensorrt", "fp16", evidence_layers=2, kv="int8")
    model = build_graph(config_of(tmp_path), options).model
    assert shape_arithmetic(ir.to_proto(model).graph) == []


def test_what_is_counted() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["all"]),
        helper.make_node("Gather", ["all", "zero"], ["first"]),
        helper.make_node("Concat", ["first", "two"], ["sizes"], axis=0),
        helper.make_node("Expand", ["x", "sizes"], ["wide"]),
        helper.make_node("Reshape", ["wide", "two"], ["flat"]),
        helper.make_node("Range", ["zero", "x", "zero"], ["numbers"]),
        helper.make_node("Add", ["numbers", "flat"], ["y"]),
    ]
    constants = [helper.make_tensor(name, TensorProto.INT64, [1], [2]) for name in ("zero", "two")]
    graph = helper.make_graph(nodes, "test", [], [], constants)
    assert shape_arithmetic(graph) == ["Shape", "Gather", "Concat", "Expand", "Range"]


SIZES = [
    {"B": 2, "S": 5, "P": 7, "R": 3, "Q": 4, "E": 2},
    {"B": 1, "S": 6, "P": 0, "R": 6, "Q": 6, "E": 0},
    {"B": 3, "S": 4, "P": 2, "R": 1, "Q": 0, "E": 1},
    {"B": 2, "S": 1, "P": 3, "R": 0, "Q": 1, "E": 0},
]
"""Axes of steps: rows of every kind, none cached, no evidence, nothing predicted."""

PIECES = ("enter", "evidence", "leave")

Arrays = dict[str, NDArray[Any]]


def piece_of(folder: Path, name: str) -> Piece:
    """A piece of a model whose best tokens are found in two blocks."""
    pieces = cut(config_of(folder, vocab_size=600, mask_token_id=599), "float32", 2, "float32")
    found: Piece = getattr(pieces, name)
    return found


@cache
def weights_of(shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> Arrays:
    random = np.random.default_rng(0)
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes}


def run(graph: ir.Graph, given: Arrays) -> list[NDArray[Any]]:
    proto = ir.to_proto(ir.Model(graph, ir_version=11))
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    outputs: list[NDArray[Any]] = session.run(None, given)
    return outputs


def array(spec: TensorSpec, sizes: dict[str, int]) -> NDArray[Any]:
    """What a piece is given: numbers at random, rows in no order and more than once."""
    random = np.random.default_rng(1)
    shape = [size if isinstance(size, int) else sizes[size] for size in spec.shape]
    if spec.dtype == "int64":
        below = {"entropy_rows": sizes["R"], "input_ids": 600}.get(spec.name, sizes["S"])
        return random.integers(0, max(below, 1), shape)
    if spec.dtype == "bool":
        return random.random(shape) < 0.5
    return random.standard_normal(shape).astype(spec.dtype)


@pytest.mark.parametrize("name", PIECES)
def test_pieces_compute_what_they_did(tmp_path: Path, name: str) -> None:
    with FakeTensorMode():
        piece = piece_of(tmp_path, name)
        before, after = (trace(piece, 23, "fused") for _ in range(2))
    for traced in (before, after):
        make_reshapes_static(traced.graph)
        if traced is after:
            assert copy_rows_whole(traced.graph) + make_expands_static(traced.graph)
        cut_reductions(traced.graph)
    shapes = tuple(
        (str(weight.name), tuple(map(int, weight.shape or ()))) for weight in before.weights
    )
    for sizes in SIZES:
        given = weights_of(shapes) | {
            str(value.name): array(spec, sizes | {"P+S": sizes["P"] + sizes["S"]})
            for spec, value in zip(piece.inputs, before.graph.inputs, strict=False)
        }
        expected, found = run(before.graph, given), run(after.graph, given)
        for old, new in zip(expected, found, strict=True):
            assert old.tobytes() == new.tobytes()
            assert old.shape == new.shape
