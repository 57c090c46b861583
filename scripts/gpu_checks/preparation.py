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

ROOT = Path(__file__).parent.parent.parent
BUILD = ROOT / "build" / "gpu-check"

MODELS = ("tiny-dream", "tiny-llada")
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
        model: Shipped model that it is exported from; None for one that is there.
        dialect: Of the export.
        precision: Of the export.
    """

    folder: Path
    engines: tuple[str, ...]
    model: str | None = None
    dialect: str = "fused"
    precision: str = "fp32"

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
    report = export(ROOT / "models" / str(subject.model), folder, options, force=True)
    return {"seconds": report.seconds, "size_bytes": report.size_bytes}


def plan_folder(artifact: Path) -> Path:
    """Where the plan for these checks lies: plans of the artifact itself are left alone."""
    path = artifact.resolve()
    return BUILD / f"{path.name}-{sha256(str(path).encode()).hexdigest()[:8]}-plan"


def build(artifact: Path) -> dict[str, Any]:
    """Builds a plan of an artifact, in a copy of its folder, for the shapes of the checks.

    Raises:
        DependencyError: TensorRT is not installed.
        DawnError: The build failed.
    """
    from dawn_export.tensorrt import EngineOptions, build_plan
    from dawn_runtime.artifact import read_manifest
    from dawn_runtime.engine.tensorrt.module import find_tensorrt

    trt = find_tensorrt(("tensorrt",), builds=True, purpose="builds plans")
    length = min(LONGEST, read_manifest(artifact).dims.max_length)
    folder = plan_folder(artifact)
    _copy(artifact, folder)
    options = EngineOptions(max_length=length, batch=MOST_ROWS, logits=True)
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
