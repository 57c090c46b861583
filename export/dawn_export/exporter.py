"""The export itself: graph, weights, companions, manifest, in this order, into one folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from dawn_export import verify
from dawn_export.describe import TOKENIZER_FILE, copy_files, describe
from dawn_export.errors import SourceError, VerificationError
from dawn_export.graph import build_graph
from dawn_export.options import ExportOptions
from dawn_export.report import Verification
from dawn_export.weights import WrittenWeights, write_weights
from dawn_models import Checkpoint, CheckpointError
from dawn_runtime import contract
from dawn_runtime.manifest import GRAPH_FILE, MANIFEST_FILE, WEIGHTS_FILE, Manifest


@dataclass(frozen=True, slots=True)
class Written:
    """What was written into the folder.

    Attributes:
        manifest: Content of its manifest.
        weights: Counts of the weights.
        warnings: What the artifact lacks.
        verification: Result of the comparison, if one was asked for.
    """

    manifest: Manifest
    weights: WrittenWeights
    warnings: tuple[str, ...]
    verification: Verification | None


def write_artifact(
    model: Path, folder: Path, options: ExportOptions, *, verified: bool, progress: bool
) -> Written:
    """Writes the artifact of a checkpoint into an empty folder, the manifest last.

    Args:
        model: Folder of the checkpoint.
        folder: Where to write.
        options: How to export.
        verified: Whether to compare the graph with the checkpoint.
        progress: Whether to show a progress bar on standard error.

    Raises:
        SourceError: The checkpoint cannot be read.
        OptionError: The options do not fit the model.
        ExportError: The weights do not fit the precision.
        VerificationError: The comparison failed.
    """
    with _translated():
        checkpoint = Checkpoint.open(model)
        weights = _write_graph(checkpoint, folder, options, progress=progress)
        copy_files(model, folder)
        manifest = describe(checkpoint, options, folder)
        verification = verify.verify(folder, manifest, checkpoint) if verified else None
    if verification is not None and verification.failures:
        raise VerificationError(verification)
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    return Written(manifest, weights, _warnings(manifest, weights), verification)


def _write_graph(
    checkpoint: Checkpoint, folder: Path, options: ExportOptions, *, progress: bool
) -> WrittenWeights:
    graph = build_graph(checkpoint.config, options)
    dtype = contract.kv_dtype(options.precision)
    weights = write_weights(
        graph.weights, checkpoint, dtype, folder / WEIGHTS_FILE, progress=progress
    )
    path = folder / GRAPH_FILE
    ir.save(graph.model, path)
    # By path, so that the checker looks at the external data too without loading it.
    onnx.checker.check_model(str(path))
    return weights


def _warnings(manifest: Manifest, weights: WrittenWeights) -> tuple[str, ...]:
    warnings = []
    if TOKENIZER_FILE not in manifest.files:
        warnings.append(
            f"the checkpoint has no {TOKENIZER_FILE}: the artifact decodes token ids only"
        )
    if weights.vanished:
        count = sum(weights.vanished.values())
        warnings.append(
            f"{count} values in {len(weights.vanished)} weights are too small for "
            f"{manifest.precision} and became zero, most of them in "
            f"{max(weights.vanished, key=weights.vanished.__getitem__)}"
        )
    return tuple(warnings)


@contextmanager
def _translated() -> Iterator[None]:
    """The one place where the errors of reading a checkpoint become ours."""
    try:
        yield
    except CheckpointError as error:
        raise SourceError(str(error)) from error
