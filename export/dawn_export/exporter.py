"""The export itself: companions, then graph and weights at once, manifest, into one folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import onnx
import onnx_ir as ir

from dawn_export.aside import aside
from dawn_export.describe import describe, file_entry
from dawn_export.errors import ExportError, SourceError, VerificationError
from dawn_export.genai.workflow import write_package
from dawn_export.graph.step import StepGraph, build_graph
from dawn_export.options import ExportOptions
from dawn_export.preflight import check_export, check_verification
from dawn_export.progress import Listener, reporting, stage
from dawn_export.publishing.card import write_card
from dawn_export.publishing.licence import licence_of
from dawn_export.quantization.calibration_file import CALIBRATION_FILE
from dawn_export.quantization.fingerprint import fingerprint
from dawn_export.quantization.smoothing import folded
from dawn_export.report import VERIFICATION_FILE, Verification
from dawn_export.text.companions import write_companions
from dawn_export.verification import verify
from dawn_export.weights.plan import plan
from dawn_export.weights.write import WrittenWeights, point_to, write_weights
from dawn_models import Checkpoint, CheckpointError, Told
from dawn_runtime import contract
from dawn_runtime.manifest import (
    CARD_FILE,
    MANIFEST_FILE,
    FileEntry,
    Graph,
    Manifest,
    Origin,
)

_NO_WEIGHTS = FileEntry(0, "0" * 64)
"""Stands for the data file until it is written."""


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


def open_checkpoint(
    folder: Path,
    options: ExportOptions,
    output: Path,
    verified: str | None = None,
    told: Told | None = None,
) -> Checkpoint:
    """Opens a checkpoint and checks that it can be exported as asked; nothing is written.

    Args:
        folder: Where it lies.
        options: How it shall be exported.
        output: Where to.
        verified: As for `write_artifact`.
        told: What it is, where its files do not say.

    Raises:
        SourceError: The checkpoint cannot be read.
        CalibrationFileError: The calibration was made for another model.
        OptionError: The options do not fit the model.
        OutputError: The disk is too full.
        DependencyError: What verifies is not installed.
    """
    if verified is not None:
        check_verification(options)
    with stage("checking", f"checking {folder}"), _translated():
        checkpoint = Checkpoint.open(folder, told or Told())
        check_export(checkpoint.config, options, output)
        checkpoint.check_head()
        if options.calibration is not None:
            options.calibration.check_model(fingerprint(checkpoint))
    return checkpoint


def write_artifact(
    checkpoint: Checkpoint,
    folder: Path,
    options: ExportOptions,
    *,
    origin: Origin | None,
    verified: str | None,
    progress: bool | Listener = False,
) -> Written:
    """Writes the artifact of a checkpoint into an empty folder, the manifest last.

    Args:
        checkpoint: Its source.
        folder: Where to write.
        options: How to export.
        origin: Where on the Hub the checkpoint comes from; None for a local folder.
        verified: One of `VERIFY_MODES` to compare what was written with the checkpoint, or None.
        progress: Who hears what is done; see `dawn_export.progress.reporting`.

    Raises:
        SourceError: The checkpoint cannot be read.
        ArtifactError: A value does not fit the manifest.
        ExportError: The weights do not fit the precision.
        OutputError: The files cannot be written.
        VerificationError: The comparison failed.
    """
    with _translated(), reporting(progress):
        # What can fail early does: a broken tokenizer shall not cost the time that weights take.
        with stage("companions", "reading tokenizer and chat template"):
            warnings = (*checkpoint.notes, *write_companions(checkpoint, folder))
            described = describe(checkpoint, options, folder, _NO_WEIGHTS)
            if options.onnx_genai:
                write_package(described, folder)
        step = described.step
        if options.calibration is not None:
            text = options.calibration.to_json()
            (folder / CALIBRATION_FILE).write_text(text, encoding="utf-8")
        # Tracing is Python, which one core runs; weights are read, converted, hashed and written
        # by others meanwhile.
        with aside(partial(_write_weights, checkpoint, folder / step.data, options)) as written:
            graph = build_graph(checkpoint.config, options)
            weights = written()
        _save_graph(graph, weights, folder, step)
        manifest = replace(describe(checkpoint, options, folder, weights.file), origin=origin)
        verification = None
        if verified is not None:
            verification = verify.verify(
                folder, manifest, checkpoint, graph.weights, options, verified
            )
            manifest = _with_report(manifest, folder, verification, options)
        licence = licence_of(checkpoint.folder, origin)
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    write_card(folder, manifest, licence)
    _check_listed(manifest, folder)
    noted = () if licence.warning is None else (licence.warning,)
    warnings = (*warnings, *noted, *_warnings(manifest, weights))
    return Written(manifest, weights, warnings, verification)


def _check_listed(manifest: Manifest, folder: Path) -> None:
    """The manifest names every file but the card, or the hashes in it would say too little."""
    listed, found = (
        {MANIFEST_FILE, CARD_FILE, *manifest.files},
        {path.name for path in folder.iterdir()},
    )
    if listed != found:
        raise ExportError(f"{min(listed ^ found)}: left in the folder, or missing; report this")


def _write_weights(
    checkpoint: Checkpoint, file: Path, options: ExportOptions, progress: Listener
) -> WrittenWeights:
    return write_weights(
        plan(checkpoint.config, options.scheme),
        checkpoint,
        contract.activation_dtype(options.scheme.activations),
        file,
        factors=folded(options.calibration, checkpoint.config),
        allow_overflow=options.allow_overflow,
        progress=progress,
    )


def _save_graph(graph: StepGraph, weights: WrittenWeights, folder: Path, names: Graph) -> None:
    path = folder / names.file
    with stage("saving", "saving and checking the graph"):
        point_to(graph.weights, weights, folder / names.data)
        ir.save(graph.model, path)
        # By path, so that the checker looks at the external data too without loading it.
        onnx.checker.check_model(str(path))


def _with_report(
    manifest: Manifest, folder: Path, verification: Verification, options: ExportOptions
) -> Manifest:
    """Keeps the result beside what it is about; one that is not good ends the export."""
    if not verification.accepted:
        raise VerificationError(verification, _advice(verification, options))
    path = folder / VERIFICATION_FILE
    path.write_text(verification.to_json(), encoding="utf-8")
    return replace(manifest, files={**manifest.files, path.name: file_entry(path)})


def _advice(verification: Verification, options: ExportOptions) -> str:
    """Ranges of too few prompts clip what other tokens need."""
    if options.calibration is None or verification.values.differing:
        return ""
    prompts = options.calibration.settings.get("prompts", "an unknown number of")
    return (
        f"the calibration saw {prompts} prompts, and its ranges may be too narrow: run "
        "dawn-calibrate ranges on more, or more varied ones"
    )


def _warnings(manifest: Manifest, weights: WrittenWeights) -> list[str]:
    warnings = []
    if weights.vanished:
        warnings.append(
            f"{_count(weights.vanished)} are too small for {manifest.precision} and became zero, "
            f"most of them in {_most(weights.vanished)}"
        )
    if weights.overflowed:
        warnings.append(
            f"{_count(weights.overflowed)} are beyond the range of {manifest.precision} and became "
            f"its largest number, most of them in {_most(weights.overflowed)}"
        )
    return warnings


def _count(lost: Mapping[str, int]) -> str:
    return f"{sum(lost.values())} values in {len(lost)} weights"


def _most(lost: Mapping[str, int]) -> str:
    return max(lost, key=lost.__getitem__)


@contextmanager
def _translated() -> Iterator[None]:
    """The one place where the errors of reading a checkpoint become ours."""
    try:
        yield
    except CheckpointError as error:
        raise SourceError(str(error)) from error
