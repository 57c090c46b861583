"""Is the artifact what the checkpoint is? Two questions, for every size of model.

values      is each written weight that of the checkpoint: `written_weights`
end to end  does the graph compute what the checkpoint computes: `computed_outputs`, on the whole
            model where it fits the free memory, else on its first layers with the real weights
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dawn_export.options import ExportOptions
from dawn_export.quantization.smoothing import folded
from dawn_export.report import EndToEnd, Verification
from dawn_export.verification.computed_outputs import check_parity
from dawn_export.verification.first_layers import first_layers, first_layers_graph, layers_that_fit
from dawn_export.verification.written_weights import check_values
from dawn_export.weights.layout import StoredWeight
from dawn_models import Checkpoint
from dawn_runtime.engine.ort.cpu import ACTIVATIONS
from dawn_runtime.machine.memory import read_available
from dawn_runtime.manifest import Manifest


def verify(
    folder: Path,
    manifest: Manifest,
    checkpoint: Checkpoint,
    weights: Sequence[StoredWeight],
    options: ExportOptions,
    mode: str,
) -> Verification:
    """Compares the artifact in a folder with the checkpoint it was made from.

    Args:
        folder: Where the graph and its weights lie.
        manifest: Manifest of the artifact.
        checkpoint: Its source.
        weights: How each parameter is stored.
        options: How it was exported.
        mode: How many of the weights' values are compared, `all` or `sample`.

    Raises:
        WeightsError: A shard cannot be read.
        EngineError: ONNX Runtime cannot load or run the graph.
        DependencyError: onnxruntime is not installed.
    """
    values = check_values(
        folder / manifest.step.file,
        weights,
        checkpoint,
        manifest.activation_dtype,
        mode,
        folded(options.calibration, checkpoint.config),
    )
    return Verification(values, _end_to_end(folder, manifest, checkpoint, weights, options))


def _end_to_end(
    folder: Path,
    manifest: Manifest,
    checkpoint: Checkpoint,
    weights: Sequence[StoredWeight],
    options: ExportOptions,
) -> EndToEnd:
    total = manifest.dims.layers
    if manifest.activations not in ACTIVATIONS:
        reason = f"the CPU, where this is tried, cannot run {manifest.activations}"
        return EndToEnd(0, total, (), reason)
    layers = layers_that_fit(checkpoint.config, read_available())
    if layers == 0:
        return EndToEnd(0, total, (), "not even one layer fits the free memory")
    if layers == total:
        found = check_parity(folder / manifest.step.file, manifest, checkpoint, weights)
        return EndToEnd(total, total, found)
    first = first_layers(checkpoint, layers)
    with first_layers_graph(folder, manifest, first, options) as (graph, described):
        differences = check_parity(graph, described, first, weights)
    return EndToEnd(layers, total, differences, "more does not fit the free memory")
