"""`export`: the one function behind the command and the Python interface."""

from __future__ import annotations

import time
from pathlib import Path

from dawn_export.artifact import check_output, staged
from dawn_export.errors import SourceError
from dawn_export.options import ExportOptions
from dawn_export.report import ExportReport
from dawn_runtime.errors import DependencyError
from dawn_runtime.manifest import MANIFEST_FILE


def export(
    model: str | Path,
    output: str | Path,
    options: ExportOptions | None = None,
    *,
    force: bool = False,
    verify: bool = False,
    progress: bool = False,
) -> ExportReport:
    """Turns a checkpoint into an artifact: ONNX graph, weights, tokenizer files and manifest.

    The artifact appears under `output` complete or not at all. Weights are streamed, whatever
    their size; `verify` loads them all, in float32.

    Args:
        model: Folder of a Hugging Face checkpoint of a known family, with safetensors.
        output: Folder of the artifact.
        options: How to export; None is float32 for the CPU.
        force: Whether an artifact that is at `output` may be replaced. Other folders never are.
        verify: Whether to compare the graph with the checkpoint before it is put in place.
        progress: Whether to show a progress bar on standard error while weights are written.

    Raises:
        SourceError: The checkpoint is missing, malformed, unsupported or unsafe.
        OutputError: Something at `output` may not be replaced, or it cannot be written to.
        OptionError: The options do not fit the model.
        ExportError: A weight does not fit the precision.
        VerificationError: The graph differs from the checkpoint by more than the tolerance.
        DependencyError: A package of the ``export`` extra is not installed.
    """
    started = time.perf_counter()
    model, output, options = Path(model), Path(output), options or ExportOptions()
    if not model.is_dir():
        raise SourceError(f"{model}: no such folder; expected a Hugging Face checkpoint folder")
    check_output(output.resolve(), force=force)
    try:
        from dawn_export.exporter import write_artifact
    except ImportError as error:
        raise DependencyError(
            f"export needs {error.name}, which is not installed; pip install 'dawn-edge[export]'"
        ) from error
    with staged(output, force=force) as folder:
        written = write_artifact(model, folder, options, verified=verify, progress=progress)
    manifest = written.manifest
    return ExportReport(
        output=output,
        family=manifest.family,
        dialect=manifest.dialect,
        precision=manifest.precision,
        parameters=written.weights.values,
        size_bytes=sum((output / name).stat().st_size for name in [*manifest.files, MANIFEST_FILE]),
        seconds=time.perf_counter() - started,
        vanished=written.weights.vanished,
        warnings=written.warnings,
        verification=written.verification,
    )
