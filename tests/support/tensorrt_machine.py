"""A machine with a fake GPU and a fake TensorRT, and an artifact to build plans of."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dawn_export import ExportOptions, export
from dawn_export.tensorrt import EngineOptions, PlanReport, build_plan
from dawn_runtime.engine.tensorrt.module import TensorRT
from dawn_runtime.machine.driver import Cuda, Gpu
from support.checkpoints import write_checkpoint
from support.fake_tensorrt import fake_tensorrt
from support.fake_tensorrt_world import World

ORIN = Gpu("Orin", (8, 7), integrated=True, free_bytes=8 * 10**9, total_bytes=8 * 10**9)
FEW = EngineOptions(max_length=48, block_length=8, batch=2)

Export = Callable[..., Path]


def small_artifact(folder: Path, family: str = "dream", **options: Any) -> Path:
    """The artifact of a random checkpoint of two layers."""
    checkpoint = write_checkpoint(folder / "checkpoint", family)
    wanted = ExportOptions(evidence_layers=2, **{"target": "tensorrt", **options})
    export(checkpoint, folder / "artifact", wanted)
    return folder / "artifact"


class FakeMachine:
    """Where the module `tensorrt` is a fake, and the driver tells of one Orin.

    Attributes:
        world: What TensorRT does and saw.
        trt: The module.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, version: str = "10.3.0") -> None:
        self._patch = monkeypatch
        self.world = World()
        self.install(version)
        self.set_gpu(ORIN)

    def install(self, version: str) -> None:
        """Replaces TensorRT by another release."""
        module = fake_tensorrt(version, self.world)
        self._patch.setitem(sys.modules, "tensorrt", module)
        self.trt = TensorRT("tensorrt", module)

    def set_gpu(self, gpu: Gpu | None) -> None:
        """Replaces the GPU."""
        found = Cuda((12, 6), (gpu,)) if gpu else Cuda(reason="libcuda.so.1: not found")
        self._patch.setattr("dawn_export.tensorrt.build.read_cuda", lambda: found)

    def build(self, artifact: Path, options: EngineOptions = FEW, **rest: Any) -> PlanReport:
        """Builds a plan."""
        return build_plan(artifact, options, **rest)


def copied(artifact: Path, folder: Path) -> Path:
    """A copy that a test may write to."""
    shutil.copytree(artifact, folder)
    return folder
