"""The graph of the step contract, put together from traced pieces.

=================  ======================================================================
inputs, outputs    exactly the tables of `dawn_runtime.contract`: order, names, types, axes
weights            initializers named by parameter, ``layers.0.o_proj.weight``; matrices are
                   stored [in, out], the embedding [V, hidden]; a tied head is the embedding.
                   ``layers.0.qkv_proj`` is q_proj, k_proj and v_proj. Of integers:
                   ``layers.0.o_proj.weight.scale``, and where what is read is rounded by a known
                   scale ``layers.0.o_proj.input.scale``
nodes              ``layers.0.o_proj/MatMul`` where a weight is read, else ``layers.0/Mul_7``
=================  ======================================================================

No weight is in memory: initializers have names, types and shapes until they are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import CommonSubexpressionEliminationPass, RemoveUnusedNodesPass

from dawn_export.graph.assembly import Assembly, Part, graph_value
from dawn_export.graph.passes import (
    copy_rows_whole,
    cut_reductions,
    fuse_products,
    make_expands_static,
    make_reshapes_static,
    quantize_embedding,
    quantize_products,
    share_head,
    store_transposed,
    use_rotary_embedding,
)
from dawn_export.graph.pieces import Piece, cut
from dawn_export.graph.tracing import trace, weightless
from dawn_export.options import ExportOptions
from dawn_export.progress import stage
from dawn_export.quantization.integers import used
from dawn_export.quantization.schemes import PLAIN
from dawn_export.weights.layout import Layout, StoredWeight
from dawn_models import LayerKind, ModelConfig
from dawn_models.anatomy import full_name, layer_parts, split_name, stored_products
from dawn_runtime import contract
from dawn_runtime._version import __version__

_LAYER = "layer."
"""What names of a traced layer start with."""


@dataclass(frozen=True, slots=True)
class StepGraph:
    """A graph and the weights it wants.

    Attributes:
        model: The graph; its weights have no values yet.
        weights: Every weight once, in the order in which the graph reads them.
    """

    model: ir.Model
    weights: tuple[StoredWeight, ...]


def build_graph(config: ModelConfig, options: ExportOptions) -> StepGraph:
    """Traces the pieces of a model and joins them into the graph of the step contract.

    Raises:
        ExportError: The exporter did not give what was asked of it.
        OptionError: The options do not fit the model.
    """
    options.check_model(config)
    dtype = contract.activation_dtype(options.scheme.activations)
    kept = contract.kv_dtype(options.scheme.activations, options.kv)
    with weightless():
        pieces = cut(config, dtype, options.evidence_layers, kept)
        kinds = config.kinds
        tracing = f"tracing with torch, {{}} of {len(kinds) + 3}: {{}}".format
        with stage("tracing", tracing(1, "embedding and rotary angles")):
            enter = _enter_part(pieces.enter, options, tied=config.tied_head)
        layers = {}
        for number, kind in enumerate(kinds, start=2):
            with stage("tracing", tracing(number, "a layer")):
                layers[kind] = _layer_part(pieces.layers[kind], config, kind, options)
        with stage("tracing", tracing(len(kinds) + 2, "attention evidence")):
            evidence = _part(pieces.evidence, options)
        with stage("tracing", tracing(len(kinds) + 3, "the head")):
            leave = _leave_part(pieces.leave, options, tied=config.tied_head)
    parts = _Parts(enter, layers, evidence, leave)
    with stage("graph", f"putting the graph of {config.num_layers} layers together"):
        return _assembled(parts, config, options, kept)


def _assembled(parts: _Parts, config: ModelConfig, options: ExportOptions, kept: str) -> StepGraph:
    """Joins the parts into the graph, whose keys and values have the dtype `kept`."""
    sizes = (config.num_layers, config.num_kv_heads, config.head_dim, kept)
    measures = options.measures
    drafts = config.draft is not None
    wanted = contract.input_specs(*sizes, measures=measures, drafts=drafts)
    inputs = [graph_value(spec) for spec in wanted]
    specs = contract.output_specs(*sizes, config.vocab_size, measures=measures)
    outputs = [graph_value(spec) for spec in specs]
    assembly = Assembly()
    joined = _join(assembly, parts, config, inputs, options.evidence_layers)
    computed = [joined[spec.name] for spec in specs]
    for value, described in zip(computed, outputs, strict=True):
        value.name, value.type, value.shape = described.name, described.type, described.shape
    return _finish(assembly, inputs, computed, config, options)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The pieces, traced and prepared."""

    enter: Part
    layers: Mapping[LayerKind, Part]
    evidence: Part
    leave: Part


def _part(piece: Piece, options: ExportOptions, *, shared: bool = False) -> Part:
    """Traces a piece; `shared` is whether its matrix is the embedding and lies as that does."""
    traced = trace(piece, options.opset, options.graph_dialect)
    make_reshapes_static(traced.graph)
    copy_rows_whole(traced.graph)
    make_expands_static(traced.graph)
    if shared and options.target != "tensorrt":
        share_head(traced.graph, next(w for w in traced.weights if len(w.shape or ()) == 2))
    turned = frozenset() if shared else store_transposed(traced.graph, traced.weights)
    names = [str(weight.name) for weight in traced.weights]
    return Part(traced, {name: Layout((name,), name in turned) for name in names})


def _enter_part(piece: Piece, options: ExportOptions, *, tied: bool) -> Part:
    part = _part(piece, options)
    product = options.scheme.embedding
    if not product.plain:
        embedding = part.trace.weights[0]
        quantize_embedding(part.trace.graph, part.layouts, embedding, product, tied=tied)
    return part


def _layer_part(piece: Piece, config: ModelConfig, kind: LayerKind, options: ExportOptions) -> Part:
    part = _part(piece, options)
    products = stored_products(layer_parts(config, kind))
    graph = part.trace.graph
    if options.graph_dialect == "fused":
        use_rotary_embedding(graph)
    groups = {
        f"{_LAYER}{name}": [_LAYER + linear.name for linear in members]
        for name, members in products.items()
        if len(members) > 1
    }
    fuse_products(graph, part.layouts, groups)
    rounded = {
        f"{_LAYER}{name}.weight": options.scheme.linear(members[0])
        for name, members in products.items()
    }
    # The factors of an adapter are no such products: they are small, and drafts live by them.
    quantize_products(graph, part.layouts, lambda name: rounded.get(name, PLAIN))
    return part


def _leave_part(piece: Piece, options: ExportOptions, *, tied: bool) -> Part:
    product = options.scheme.embedding if tied else options.scheme.head
    part = _part(piece, options, shared=tied and product.plain)
    quantize_products(part.trace.graph, part.layouts, lambda _: product)
    cut_reductions(part.trace.graph)
    return part


def _layer_parameter(layer: int, traced: str) -> str:
    return full_name(layer, traced.removeprefix(_LAYER))


def _join(
    assembly: Assembly,
    parts: _Parts,
    config: ModelConfig,
    inputs: list[ir.Value],
    evidence_layers: int,
) -> dict[str, ir.Value]:
    """Calls the parts as `Transformer.step` calls what they were traced from.

    Returns:
        Output -> value. What no output of the graph is made from is removed later; so nothing reads
        the stand-in for an input that the graph does not have.
    """
    named = {str(value.name): value for value in inputs}
    input_ids, position_ids, attention_mask, logit_rows, attention_rows = inputs[:5]
    entropy_rows = named.get(contract.ENTROPY_ROWS, attention_rows)
    past = [named[name] for name in contract.kv_names("past", config.num_layers)]
    drafts = [named[contract.DRAFT_MASK]] if config.draft else []

    def outer(name: str) -> str:
        parameter = name.removeprefix("model.")
        return parameter.replace("head.", "embedding.") if config.tied_head else parameter

    entered = assembly.call(
        parts.enter, "enter", [input_ids, position_ids, attention_mask, attention_rows], outer
    )
    x, cos, sin, seen = (entered[name] for name in ("x", "cos", "sin", "seen"))
    attention: list[ir.Value] = []
    present: list[ir.Value] = []
    for i in range(config.num_layers):
        layer = assembly.call(
            parts.layers[config.kind(i)],
            f"layers.{i}",
            [x, cos, sin, attention_mask, past[2 * i], past[2 * i + 1], *drafts],
            partial(_layer_parameter, i),
        )
        x = layer["x"]
        present += [layer["present_key"], layer["present_value"]]
        if i >= config.num_layers - evidence_layers:
            arguments = [layer["query"], layer["keys"], attention_rows, seen]
            called = assembly.call(parts.evidence, f"layers.{i}.evidence", arguments, outer)
            attention.append(called["attention"])
    left = assembly.call(parts.leave, "leave", [x, logit_rows, entropy_rows, *attention], outer)
    return left | dict(zip(contract.kv_names("present", config.num_layers), present, strict=True))


def _finish(
    assembly: Assembly,
    inputs: list[ir.Value],
    outputs: list[ir.Value],
    config: ModelConfig,
    options: ExportOptions,
) -> StepGraph:
    weights = tuple(assembly.weights.values())
    _set_ranges(assembly.ranges, config, options)
    domains = {node.domain for node in assembly.nodes} - {""}
    graph = ir.Graph(
        inputs,
        outputs,
        nodes=assembly.nodes,
        initializers=[
            *(value for weight in weights for value in weight.initializers),
            *assembly.ranges.values(),
            *assembly.constants.values(),
        ],
        opset_imports={"": options.opset, **dict.fromkeys(sorted(domains), 1)},
        name=f"{config.family} step",
    )
    model = ir.Model(
        graph,
        ir_version=options.ir_version,
        producer_name="dawn-edge",
        producer_version=__version__,
    )
    # What layers compute alike (the additive mask), and what static reshapes left behind.
    CommonSubexpressionEliminationPass()(model)
    RemoveUnusedNodesPass()(model)
    return StepGraph(model, weights)


def _set_ranges(
    ranges: Mapping[str, ir.Value], config: ModelConfig, options: ExportOptions
) -> None:
    """Gives the scales of static activations their values, from the calibration."""
    if not ranges:
        return
    calibration = options.calibration
    if calibration is None:
        raise ValueError("static activations need a calibration")
    for product, value in ranges.items():
        layer, name = split_name(product)
        if layer is None:
            raise ValueError(f"{product} is in no layer; only products of layers have ranges")
        members = stored_products(layer_parts(config, config.kind(layer)))[name]
        largest = max(calibration.ranges[full_name(layer, member.name)] for member in members)
        kind = (value.dtype or ir.DataType.FLOAT).numpy()
        scale = np.array(largest / used(8)[1], dtype=kind)
        value.const_value = ir.tensor(scale, name=value.name)
