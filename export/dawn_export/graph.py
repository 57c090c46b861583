"""The graph of the step contract, put together from traced pieces.

=================  ======================================================================
inputs, outputs    exactly the tables of `dawn_runtime.contract`: order, names, types, axes
weights            initializers named by parameter, ``layers.0.q_proj.weight``; matrices are
                   stored [in, out], the embedding [V, hidden]; a tied head is the embedding
nodes              ``layers.0.q_proj/MatMul`` where a weight is read, else ``layers.0/Mul_7``
=================  ======================================================================

No weight is in memory: initializers have names, types and shapes until they are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import onnx_ir as ir
from onnx_ir.passes.common import CommonSubexpressionEliminationPass, RemoveUnusedNodesPass
from torch._subclasses.fake_tensor import FakeTensorMode

from dawn_export.assembly import Assembly, Part, StoredWeight, graph_value
from dawn_export.options import ExportOptions
from dawn_export.passes import make_reshapes_static, share_head, store_transposed
from dawn_export.pieces import Piece, cut
from dawn_export.tracing import trace
from dawn_models import ModelConfig
from dawn_runtime import contract
from dawn_runtime._version import __version__


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
    dtype = contract.kv_dtype(options.precision)
    with FakeTensorMode():
        pieces = cut(config, dtype, options.evidence_layers)
        parts = _Parts(
            enter=_part(pieces.enter, options),
            layer=_part(pieces.layer, options),
            evidence=_part(pieces.evidence, options),
            leave=_part(pieces.leave, options, shared_head=config.tied_head),
        )
    sizes = (config.num_layers, config.num_kv_heads, config.head_dim, dtype)
    inputs = [graph_value(spec) for spec in contract.input_specs(*sizes)]
    outputs = [graph_value(spec) for spec in contract.output_specs(*sizes, config.vocab_size)]
    assembly = Assembly()
    computed = _join(assembly, parts, config, inputs, options.evidence_layers)
    for value, described in zip(computed, outputs, strict=True):
        value.name, value.type, value.shape = described.name, described.type, described.shape
    return _finish(assembly, inputs, computed, config, options)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The four pieces, traced and prepared."""

    enter: Part
    layer: Part
    evidence: Part
    leave: Part


def _part(piece: Piece, options: ExportOptions, *, shared_head: bool = False) -> Part:
    traced = trace(piece, options.opset, options.graph_dialect)
    make_reshapes_static(traced.graph)
    if shared_head:
        share_head(traced.graph, next(w for w in traced.weights if len(w.shape or ()) == 2))
    return Part(traced, store_transposed(traced.graph, traced.weights))


def _layer_parameter(layer: int, traced: str) -> str:
    return f"layers.{layer}.{traced.removeprefix('layer.')}"


def _join(
    assembly: Assembly,
    parts: _Parts,
    config: ModelConfig,
    inputs: list[ir.Value],
    evidence_layers: int,
) -> list[ir.Value]:
    """Calls the parts as `Transformer.step` calls what they were traced from; returns outputs."""
    input_ids, position_ids, attention_mask, logit_rows, attention_rows, *past = inputs

    def outer(name: str) -> str:
        parameter = name.removeprefix("model.")
        tied = config.tied_head and parameter == "head.weight"
        return "embedding.weight" if tied else parameter

    entered = assembly.call(
        parts.enter, "enter", [input_ids, position_ids, attention_mask, attention_rows], outer
    )
    x, cos, sin, seen = (entered[name] for name in ("x", "cos", "sin", "seen"))
    attention: list[ir.Value] = []
    present: list[ir.Value] = []
    for i in range(config.num_layers):
        layer = assembly.call(
            parts.layer,
            f"layers.{i}",
            [x, cos, sin, attention_mask, past[2 * i], past[2 * i + 1]],
            partial(_layer_parameter, i),
        )
        x = layer["x"]
        present += [layer["present_key"], layer["present_value"]]
        if i >= config.num_layers - evidence_layers:
            arguments = [layer["query"], layer["keys"], attention_rows, seen]
            called = assembly.call(parts.evidence, f"layers.{i}.evidence", arguments, outer)
            attention.append(called["attention"])
    left = assembly.call(parts.leave, "leave", [x, logit_rows, *attention], outer)
    return [*(left[name] for name in ("tokens", "confidence", "attention", "logits")), *present]


def _finish(
    assembly: Assembly,
    inputs: list[ir.Value],
    outputs: list[ir.Value],
    config: ModelConfig,
    options: ExportOptions,
) -> StepGraph:
    weights = tuple(assembly.weights.values())
    graph = ir.Graph(
        inputs,
        outputs,
        nodes=assembly.nodes,
        initializers=[*(weight.value for weight in weights), *assembly.constants.values()],
        opset_imports={"": options.opset},
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
