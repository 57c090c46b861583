"""`export`: the one function behind the command and the Python interface."""

from __future__ import annotations

import time
from pathlib import Path

from dawn_export.collection import collection_paused
from dawn_export.errors import OutputError, SourceError
from dawn_export.folder.artifact import check_output, staged
from dawn_export.options import VERIFY_MODES, ExportOptions, check_flag
from dawn_export.progress import Listener, at_terminal, reporting, stage
from dawn_export.report import ExportReport
from dawn_export.sources.find import Source, find_source
from dawn_export.told import check_told
from dawn_models import Told
from dawn_runtime.checks import check_choice, shown
from dawn_runtime.errors import OptionError
from dawn_runtime.manifest import CARD_FILE, MANIFEST_FILE
from dawn_runtime.native import importing


def export(
    model: str | Path,
    output: str | Path,
    options: ExportOptions | None = None,
    *,
    revision: str | None = None,
    force: bool = False,
    verify: str | None = None,
    progress: bool | Listener = False,
    told: Told | None = None,
) -> ExportReport:
    """Turns a checkpoint into an artifact: ONNX graph, weights, tokenizer files, manifest and card.

    The artifact appears under `output` complete or not at all. Weights are streamed: whatever
    their size, memory holds one tensor at most. `verify` runs as many layers as fit the free
    memory, all of them if it can.

    Args:
        model: Folder of a Hugging Face checkpoint of a known family, with safetensors; a name of
            `dawn_export.ALIASES`, or an id on the Hugging Face Hub, which is downloaded.
        output: Folder of the artifact.
        options: How to export; None is float32 for the CPU.
        revision: Branch, tag or commit on the Hub; None is its default branch.
        force: Whether an artifact that is at `output` may be replaced. Other folders never are.
        verify: `all` or `sample` to compare the artifact with the checkpoint before it is put in
            place: every written weight (or a sample of each), and what the graph computes; None
            does not. The result is kept in the artifact.
        progress: True for a line about every stage on standard error, and bars at a terminal; or a
            function that is called with a `Progress` when a stage begins and as it goes on.
        told: What the checkpoint is, where its files do not say.

    Raises:
        SourceError: The checkpoint is missing, malformed, unsupported, unsafe or not to be had.
        OutputError: Something at `output` may not be replaced, the disk is too full, or another
            export to the same place is running.
        CalibrationFileError: The calibration was made for another model.
        OptionError: The options do not fit the model, a local folder is asked for a revision, or
            an argument is of another type.
        ExportError: A weight does not fit the precision.
        VerificationError: A weight differs from the checkpoint's, or what the graph computes does
            by more than the tolerance.
        DependencyError: A package of the ``export`` extra is not installed.
    """
    started = time.perf_counter()
    for name, place in (("model", model), ("output", output)):
        _check_place(name, place)
    options = ExportOptions() if options is None else options
    _check_arguments(options, revision, force, verify, progress)
    source = find_source(model, revision).told_by(check_told(Told() if told is None else told))
    place = real_place(output)
    check_output(place, force=force)
    # The place is taken before anything is fetched or read: what keeps us from it is known then.
    with reporting(progress), staged(place, force=force) as folder:
        with (
            stage("starting", "loading torch and the exporter"),
            collection_paused(),
            importing("export needs", "torch or onnx", "pip install 'dawn-edge[export]'"),
        ):
            from dawn_export.exporter import open_checkpoint, write_artifact
        found = _fetched(source, model, progress=progress is True and at_terminal())
        checkpoint = open_checkpoint(found, options, place, verified=verify, told=source.told)
        written = write_artifact(
            checkpoint, folder, options, origin=source.origin(found), verified=verify
        )
    manifest = written.manifest
    names = (*manifest.files, MANIFEST_FILE, CARD_FILE)
    return ExportReport(
        output=Path(output),
        family=manifest.family,
        dialect=manifest.dialect,
        precision=manifest.precision,
        parameters=written.weights.values,
        size_bytes=sum((place / name).stat().st_size for name in names),
        seconds=time.perf_counter() - started,
        vanished=written.weights.vanished,
        overflowed=written.weights.overflowed,
        mask_token=f"{manifest.tokens.mask}, {checkpoint.mask_source}",
        warnings=written.warnings,
        verification=written.verification,
    )


def _check_place(name: str, value: object) -> None:
    """Refuses what is no path. The empty text, of a variable without a value, is none."""
    if not isinstance(value, str | Path) or value == "":
        raise OptionError(f"export: {name} is {shown(value)}, expected a text or a Path")


def _check_arguments(
    options: object, revision: object, force: object, verify: object, progress: object
) -> None:
    """Refuses what is of another type, before it is taken for what it is not."""
    if not isinstance(options, ExportOptions):
        raise OptionError(f"export: options is {shown(options)}; expected ExportOptions")
    if revision is not None and not (isinstance(revision, str) and revision):
        raise OptionError(f"export: revision is {shown(revision)}; expected a text")
    check_flag("force", force)
    if verify is not None:
        check_choice("export", "verify", verify, VERIFY_MODES)
    if not isinstance(progress, bool) and (isinstance(progress, type) or not callable(progress)):
        raise OptionError(f"progress: got {shown(progress)}, expected True, False or a function")


def real_place(output: str | Path) -> Path:
    """Where an artifact shall be, as it is called whatever folder one is in.

    Raises:
        OutputError: Links go round in a circle, the working directory is gone, a name is too long,
            or the path is not text, which the libraries that read graphs take alone.
    """
    try:
        place = Path(output).resolve()
        str(place).encode()
        place.exists()  # fails where no name could ever be
    except FileNotFoundError as error:  # a name that is not there yet raises nothing
        raise OutputError(
            f"{str(output)!r}: the working directory is gone, perhaps replaced; "
            "change into it again"
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise OutputError(f"{str(output)!r}: no usable path ({error}); give another one") from error
    return place


def _fetched(source: Source, model: str | Path, *, progress: bool) -> Path:
    """Where the checkpoint really lies; a link that is changed meanwhile changes nothing."""
    try:
        return source.fetch(progress=progress).resolve()
    except (OSError, RuntimeError) as error:
        raise SourceError(f"{model}: cannot be read ({error}); check the path") from error
