"""From the graph of an artifact to a network of TensorRT, strongly typed: types are the graph's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dawn_export.errors import ExportError
from dawn_runtime.contract import MEASURES
from dawn_runtime.engine.tensorrt.module import TensorRT, reason


def parse_graph(trt: TensorRT, builder: Any, log: Any, graph: Path, *, logits: bool) -> Any:
    """Returns the network of a graph.

    Args:
        trt: The module.
        builder: Its builder.
        log: Its logger.
        graph: Path of the graph; its weights lie beside it.
        logits: Whether the network returns logits.

    Raises:
        ExportError: The parser refuses the graph.
    """
    module = trt.module
    typed = module.NetworkDefinitionCreationFlag.STRONGLY_TYPED  # 11 knows no other networks
    network = builder.create_network(1 << int(typed))
    parser = module.OnnxParser(network, log)
    if not parser.parse_from_file(str(graph)):
        errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        text = " ".join("; ".join(errors).split()) or reason(log)
        raise ExportError(
            f"{trt.name}: cannot parse {graph}: {text:.300}; export again with --dialect portable"
        )
    for name in (*MEASURES, *([] if logits else ["logits"])):
        _drop(network, name)
    if hasattr(module, "IAttentionBoundaryLayer"):
        _let_decompose(network, module.IAttentionBoundaryLayer)
    return network


def _let_decompose(network: Any, boundary: Any) -> None:
    """Lets attention without a kernel of its own be several; else the build would fail."""
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        if isinstance(layer, boundary):
            layer.attention.decomposable = True


def _drop(network: Any, name: str) -> None:
    """Makes an output an ordinary value, for which no memory is set aside."""
    for i in range(network.num_outputs):
        output = network.get_output(i)
        if output.name == name:
            network.unmark_output(output)
            return
