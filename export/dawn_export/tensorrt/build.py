"""Building plans: checks, network, configuration, build, record; nothing half done is left."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from dawn_export.errors import ExportError
from dawn_export.progress import at_terminal, reporting, stage
from dawn_export.tensorrt.config import load_timing_cache, make_config, save_timing_cache
from dawn_export.tensorrt.files import write_whole
from dawn_export.tensorrt.inspection import Inspection, inspect
from dawn_export.tensorrt.interruption import held_interrupt
from dawn_export.tensorrt.machine import (
    build_memory,
    check_graph,
    check_memory,
    check_precision,
    target_machine,
)
from dawn_export.tensorrt.network import parse_graph
from dawn_export.tensorrt.options import EngineOptions
from dawn_export.tensorrt.report import PlanReport
from dawn_runtime.artifact import Artifact, sha256_of
from dawn_runtime.checks import check_path, shown
from dawn_runtime.engine.tensorrt.loading import load_plan
from dawn_runtime.engine.tensorrt.module import TensorRT, find_tensorrt, make_log, reason
from dawn_runtime.engine.tensorrt.plans import (
    LAYERS_SUFFIX,
    PLAN_SUFFIX,
    RECORD_SUFFIX,
    Machine,
    PlanKey,
    PlanRecord,
    read_plans,
)
from dawn_runtime.errors import EngineError, OptionError
from dawn_runtime.machine.driver import Cuda, read_cuda
from dawn_runtime.manifest import FileEntry


def build_plan(
    folder: str | Path,
    options: EngineOptions | None = None,
    *,
    trt: TensorRT | None = None,
    progress: bool = False,
) -> PlanReport:
    """Builds a plan of an artifact, beside its graph, unless the same one is there already.

    Ctrl-C ends a build after the step of TensorRT that is under way, and leaves nothing of it.

    Args:
        folder: Folder of the artifact.
        options: What the plan is for.
        trt: What builds it; None takes the TensorRT that is installed.
        progress: Whether to say on standard error what is done, with bars at a terminal.

    Raises:
        ArtifactError: The folder is no artifact, or is damaged.
        DependencyError: No TensorRT is installed.
        ExportError: The machine cannot run the artifact, has too little memory, or the build
            fails.
        OptionError: The options do not fit the artifact or this TensorRT.
        EngineError: The plan was built and cannot be loaded.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    options = _checked(options)
    artifact = Artifact.open(folder)
    trt = trt or find_tensorrt(builds=True, purpose="builds plans")
    found = read_cuda()
    machine = target_machine(trt, options, found)
    check_precision(artifact.manifest, trt, machine)
    key = PlanKey.of(artifact.manifest, machine, options.profiles(artifact.manifest))
    record = _existing(artifact, key, options)
    if record is not None:
        return _report(artifact, trt, record, 0.0, None)
    gpu = found.gpus[0] if found.gpus else None
    length = options.length(artifact.manifest)
    check_memory(build_memory(artifact, length, options.batch, gpu), artifact.folder)
    started = time.perf_counter()
    with reporting(progress):
        plan = _build(trt, artifact, options, progress=progress)
        name = _plan_name(artifact, machine, options)
        with stage("recording", f"writing {name}"):
            record = _keep(artifact, name, plan, key, options)
        seconds = time.perf_counter() - started
        with stage("inspecting", "loading the plan and looking at its layers"):
            inspection = _inspected(trt, artifact, record, found)
    return _report(artifact, trt, record, seconds, inspection)


def adopt_plan(
    folder: str | Path,
    name: str,
    options: EngineOptions | None = None,
    *,
    trt: TensorRT | None = None,
) -> PlanReport:
    """Records a plan that `trtexec` built on this machine, so that the runtime uses it.

    Args:
        folder: Folder of the artifact; the plan lies in it.
        name: File name of the plan.
        options: What it was built for.
        trt: What built it; None takes the TensorRT that is installed.

    Raises:
        As `build_plan`; ExportError also if there is no such plan.
    """
    options = _checked(options)
    artifact = Artifact.open(folder)
    check_graph(artifact.folder, artifact.manifest)
    path = artifact.folder / check_path("plan", "name", name)
    if path.parent != artifact.folder or path.suffix != PLAN_SUFFIX or not path.is_file():
        raise ExportError(
            f"{path}: no plan there; expected the name of a file *{PLAN_SUFFIX} in the folder"
        )
    trt = trt or find_tensorrt(builds=True, purpose="built the plan")
    found = read_cuda()
    machine = target_machine(trt, options, found)
    key = PlanKey.of(artifact.manifest, machine, options.profiles(artifact.manifest))
    entry = FileEntry(path.stat().st_size, sha256_of(path))
    record = _record(artifact, name, entry, key, options, logits=True)
    _write_record(artifact.folder, record)
    return _report(artifact, trt, record, 0.0, _inspected(trt, artifact, record, found))


def _checked(options: object) -> EngineOptions:
    """Returns options, the usual ones for None.

    Raises:
        OptionError: They are of another type.
    """
    found = EngineOptions() if options is None else options
    if not isinstance(found, EngineOptions):
        raise OptionError(f"plan: options is {shown(found)}; expected EngineOptions")
    return found


def _existing(artifact: Artifact, key: PlanKey, options: EngineOptions) -> PlanRecord | None:
    """Returns a plan of this key and these options that is there and whole."""
    for record in read_plans(artifact.folder):
        wanted = _record(artifact, record.name, record.file, key, options, logits=options.logits)
        if record == wanted:
            try:
                record.check_file(artifact.folder)
            except EngineError:
                return None  # it is about to be replaced, which is what the error would ask for
            return record
    return None


def _build(trt: TensorRT, artifact: Artifact, options: EngineOptions, *, progress: bool) -> Any:
    """Returns the plan as TensorRT gives it, in memory."""
    log = make_log(trt)
    builder = trt.module.Builder(log)
    graph = artifact.graph()
    with stage("parsing", f"{trt.name} reads the graph and its weights"):
        network = parse_graph(trt, builder, log, graph, logits=options.logits)
    manifest = artifact.manifest
    with (
        held_interrupt() as interrupted,
        stage("building", f"{trt.name} builds the plan and measures kernels, which takes minutes"),
    ):
        config = make_config(
            trt,
            builder,
            options,
            options.profiles(manifest),
            manifest.inputs,
            progress=progress and at_terminal(),
            cancelled=interrupted,
        )
        load_timing_cache(config, artifact.folder)
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError(
            f"{trt.name}: cannot build {graph}: {reason(log)}; if memory ran out, ask for a "
            "smaller --max-length or --batch"
        )
    save_timing_cache(config, artifact.folder)
    return plan


def _plan_name(artifact: Artifact, machine: Machine, options: EngineOptions) -> str:
    manifest = artifact.manifest
    sm = "".join(map(str, machine.capability))
    parts = [machine.product, f"sm{sm}", manifest.precision]
    return "-".join([*parts, f"{options.length(manifest)}x{options.batch}"]) + PLAN_SUFFIX


def _keep(
    artifact: Artifact, name: str, plan: Any, key: PlanKey, options: EngineOptions
) -> PlanRecord:
    """Writes the plan, and its record last."""
    path = artifact.folder / name
    path.with_name(name.removesuffix(PLAN_SUFFIX) + RECORD_SUFFIX).unlink(missing_ok=True)
    data = memoryview(plan)
    write_whole(path, data)
    entry = FileEntry(data.nbytes, hashlib.sha256(data).hexdigest())
    record = _record(artifact, name, entry, key, options, logits=options.logits)
    _write_record(artifact.folder, record)
    return record


def _record(
    artifact: Artifact,
    name: str,
    entry: FileEntry,
    key: PlanKey,
    options: EngineOptions,
    *,
    logits: bool,
) -> PlanRecord:
    return PlanRecord(
        name=name,
        file=entry,
        key=key,
        profiles=options.profiles(artifact.manifest),
        block_length=options.block(artifact.manifest),
        logits=logits,
        version_compatible=options.version_compatible,
        stripped=options.stripped,
    )


def _write_record(folder: Path, record: PlanRecord) -> None:
    path = folder / (record.name.removesuffix(PLAN_SUFFIX) + RECORD_SUFFIX)
    write_whole(path, record.to_json().encode())


def _inspected(
    trt: TensorRT, artifact: Artifact, record: PlanRecord, found: Cuda
) -> Inspection | None:
    """Loads the plan and looks at its layers, where a GPU is at hand; keeps what was seen."""
    if not found.gpus or ".".join(map(str, found.gpus[0].capability)) != record.key.sm:
        return None
    loaded = load_plan(trt, artifact.folder, record, artifact.manifest)
    try:
        inspection, text = inspect(loaded)
    finally:
        loaded.close()
    path = artifact.folder / (record.name.removesuffix(PLAN_SUFFIX) + LAYERS_SUFFIX)
    write_whole(path, text.encode())
    return inspection


def _report(
    artifact: Artifact,
    trt: TensorRT,
    record: PlanRecord,
    seconds: float,
    inspection: Inspection | None,
) -> PlanReport:
    return PlanReport(
        path=artifact.folder / record.name,
        builder=trt.name,
        sm=record.key.sm,
        profiles=tuple(profile.name for profile in record.profiles),
        size_bytes=record.file.size,
        seconds=seconds,
        reused=seconds == 0.0,
        inspection=inspection,
    )
