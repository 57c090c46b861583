"""A model that is too large to run is run up to a layer that fits, with its real weights.

The first layers of a checkpoint are a model of their own: embedding, k layers, norm and head. Their
graph is traced as the whole one is, and reads its weights from the data file that was written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import onnx_ir as ir

from dawn_export.graph.step import build_graph
from dawn_export.options import ExportOptions
from dawn_models import Checkpoint, ModelConfig, parameter_shapes
from dawn_models.anatomy import split_name
from dawn_runtime.manifest import Manifest

_GRAPH = "first-layers.onnx"
_BYTES_A_VALUE = 8
"""Most memory that one weight takes: in float32 once as written and once packed for products. At
0.5 billion weights in float16 the peak was 5.9 (ONNX Runtime 1.31, CPU, while it loads). The
reference in torch takes 4 and is gone before."""

_USED = 0.8
"""Share of the free memory that may be taken."""


def layers_that_fit(config: ModelConfig, free: int) -> int:
    """Returns how many layers run in `free` bytes of memory; 0 if not even one does."""
    room = int(free * _USED / _BYTES_A_VALUE)
    values = [0] * config.num_layers
    for parameter, shape in parameter_shapes(config).items():
        layer, _ = split_name(parameter)
        if layer is None:
            room -= math.prod(shape)
        else:
            values[layer] += math.prod(shape)
    return sum(total <= room for total in accumulate(values))


def first_layers(checkpoint: Checkpoint, layers: int) -> Checkpoint:
    """The checkpoint without the layers that follow."""
    config = checkpoint.config.first_layers(layers)
    tensors = {name: checkpoint.tensors[name] for name in parameter_shapes(config)}
    return Checkpoint(checkpoint.folder, checkpoint.family, config, tensors)


@contextmanager
def first_layers_graph(
    folder: Path, manifest: Manifest, checkpoint: Checkpoint, options: ExportOptions
) -> Iterator[tuple[Path, Manifest]]:
    """Writes the graph of the first layers beside the whole one, for as long as it is used.

    Args:
        folder: Where the whole graph and its weights lie.
        manifest: Manifest of the artifact.
        checkpoint: The first layers, see `first_layers`.
        options: How the artifact was exported.

    Yields:
        Path of the graph; what its manifest would be.
    """
    layers = checkpoint.config.num_layers
    evidence = min(options.evidence_layers, layers)
    graph = build_graph(checkpoint.config, replace(options, evidence_layers=evidence))
    written = ir.load(folder / manifest.step.file).graph.initializers
    for value in (value for weight in graph.weights for value in weight.initializers):
        value.const_value = written[str(value.name)].const_value
    path = folder / _GRAPH
    try:
        ir.save(graph.model, path)
        yield (
            path,
            replace(
                manifest,
                dims=replace(manifest.dims, layers=layers),
                evidence_layers=tuple(range(layers - evidence, layers)),
            ),
        )
    finally:
        path.unlink(missing_ok=True)
