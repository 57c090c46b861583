"""What is checked: exports of the shipped models, and plans of TensorRT."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from gpu_checks.engines import GRAPHS, REFERENCE
from gpu_checks.outcome import CheckError
from gpu_checks.speed import LENGTHS

ROOT = Path(__file__).parent.parent.parent
BUILD = ROOT / "build" / "gpu-check"

MODELS = ("tiny-dream", "tiny-llada")
RANDOM = "random-0.5b"
"""Random weights of a real geometry, for what only a model of some size and length shows."""
PRECISIONS = ("fp32", "fp16")
ENGINES = {"fused": ("onnxruntime-cuda", GRAPHS), "portable": ("tensorrt",)}
"""Dialect of an export -> engines that it is checked with; every TensorRT reads `portable`."""

MOST_ROWS, LONGEST = 4, 128
"""Rows of a batch and tokens of a row, the greatest that any check uses."""


@dataclass(frozen=True)
class Subject:
    """What is checked.

    Attributes:
        folder: Folder of the artifact.
        engines: What it is checked with.
        model: Shipped model that it is exported from, or `RANDOM`; None for one that is there.
        dialect: Of the export.
        precision: Of the export.
    """

    folder: Path
    engines: tuple[str, ...]
    model: str | None = None
    dialect: str = "fused"
    precision: str = "fp32"

    @property
    def timed_only(self) -> bool:
        """Whether it is there for its size: what it computes means nothing."""
        return self.model == RANDOM

    def suits(self, engine: str) -> bool:
        """Whether an engine is one to check this export with; the reference is for rehearsals."""
        return engine in self.engines or (engine == REFERENCE and self.dialect == "fused")


def shipped() -> Iterator[Subject]:
    """What is checked if no artifact is named."""
    for model in MODELS:
        for precision in PRECISIONS:
            for dialect, engines in ENGINES.items():
                folder = BUILD / f"{model}-{precision}-{dialect}"
                yield Subject(folder, engines, model, dialect, precision)
    for dialect, engines in ENGINES.items():
        yield Subject(BUILD / f"{RANDOM}-fp16-{dialect}", engines, RANDOM, dialect, "fp16")


def all_engines() -> tuple[str, ...]:
    """Every engine that runs on a GPU."""
    return tuple(engine for engines in ENGINES.values() for engine in engines)


def export_model(folder: Path) -> dict[str, Any]:
    """Exports a shipped model.

    Args:
        folder: Of one of `shipped`.

    Raises:
        CheckError: It is another folder.
        DawnError: The export failed.
    """
    from dawn_export import ExportOptions, export

    subject = next((subject for subject in shipped() if subject.folder == folder), None)
    if subject is None:
        raise CheckError(f"{folder}: got a folder that no shipped model is exported to")
    options = ExportOptions(
        target="tensorrt" if subject.dialect == "portable" else "cuda",
        precision=subject.precision,
        dialect=subject.dialect,
    )
    report = export(_checkpoint(str(subject.model)), folder, options, force=True)
    return {"seconds": report.seconds, "size_bytes": report.size_bytes}


def _checkpoint(model: str) -> Path:
    """Returns the folder of a checkpoint; the random one is made when it is first asked for."""
    if model != RANDOM:
        return ROOT / "models" / model
    folder = BUILD / RANDOM
    if not (folder / "model.safetensors.index.json").is_file():  # written last
        from make_random_checkpoint import write

        shutil.rmtree(folder, ignore_errors=True)
        write("0.5b", folder, 2**30, 0)
    return folder


def plan_folder(artifact: Path, check: str = "") -> Path:
    """Where the plan for a check lies: plans of the artifact itself are left alone."""
    path, kind = artifact.resolve(), "speed-plan" if check == "speed" else "plan"
    return BUILD / f"{path.name}-{sha256(str(path).encode()).hexdigest()[:8]}-{kind}"


def build(artifact: Path, check: str = "") -> dict[str, Any]:
    """Builds a plan of an artifact, in a copy of its folder.

    Args:
        artifact: Folder of the artifact.
        check: `speed` for one of a single long row; otherwise it is for all other checks.

    Raises:
        DependencyError: TensorRT is not installed.
        DawnError: The build failed.
    """
    from dawn_export.tensorrt import EngineOptions, build_plan
    from dawn_runtime.artifact import read_manifest
    from dawn_runtime.engine.tensorrt.module import find_tensorrt

    trt = find_tensorrt(("tensorrt",), builds=True, purpose="builds plans")
    most, folder = read_manifest(artifact).dims.max_length, plan_folder(artifact, check)
    _copy(artifact, folder)
    options = EngineOptions(max_length=min(LONGEST, most), batch=MOST_ROWS, logits=True)
    if check == "speed":
        options = EngineOptions(max_length=min(max(LENGTHS), most))
    return build_plan(folder, options, trt=trt).to_dict()


def _copy(artifact: Path, folder: Path) -> None:
    """Copies an artifact without its plans; large files become further names of the same."""
    from dawn_runtime.engine.tensorrt.plans import plan_files

    with suppress(FileNotFoundError):
        shutil.rmtree(folder)
    plans = plan_files(artifact)
    shutil.copytree(
        artifact,
        folder,
        ignore=lambda _, names: [name for name in names if name in plans],
        copy_function=_link,
    )


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)
