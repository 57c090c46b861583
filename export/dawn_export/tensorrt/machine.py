"""What can be known to go wrong with a plan before any of it is built."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dawn_export.errors import ExportError
from dawn_export.options import INT4_OPSET
from dawn_export.tensorrt.options import EngineOptions
from dawn_runtime.artifact import Artifact
from dawn_runtime.engine.tensorrt.module import TensorRT
from dawn_runtime.engine.tensorrt.plans import NO_DRIVER, Machine
from dawn_runtime.errors import OptionError
from dawn_runtime.machine.driver import Cuda, Gpu, precisions
from dawn_runtime.machine.memory import need, read_available
from dawn_runtime.machine.tensorrt import newest_opset
from dawn_runtime.manifest import Manifest


@dataclass(frozen=True, slots=True)
class BuildMemory:
    """Memory that building a plan takes at the least, and memory there is, in bytes.

    Attributes:
        host: Needed on the host: the weights as the parser reads them, and once more in the plan
            that the builder returns.
        device: Needed on the GPU: the weights, and what a full pass works on.
        shared: Whether both are the same memory, as on Jetson.
        host_free: Free on the host.
        device_free: Free on the GPU; None where none is at hand.
    """

    host: int
    device: int
    shared: bool
    host_free: int
    device_free: int | None

    @property
    def missing(self) -> int:
        """Bytes that are too few, 0 if there is enough."""
        if self.shared:
            return max(self.host + self.device - self.host_free, 0)
        on_device = 0 if self.device_free is None else self.device - self.device_free
        return max(self.host - self.host_free, on_device, 0)


def target_machine(trt: TensorRT, options: EngineOptions, found: Cuda) -> Machine:
    """Returns the machine that a plan shall run on.

    Args:
        trt: What builds it.
        options: What it is for.
        found: Driver and GPUs of this machine.

    Raises:
        OptionError: It is for another GPU, and this TensorRT builds for its own alone.
        ExportError: There is no GPU, and none was named.
    """
    cuda = NO_DRIVER if found.version is None else found.version[0]
    if options.capability is not None:
        if trt.product != "tensorrt_rtx":
            raise OptionError(
                f"compute capability: {trt.product} builds for the GPU at hand only; leave it out, "
                "and build on the machine that will run the plan"
            )
        return Machine.of(trt, options.capability, cuda)
    if not found.gpus:
        raise ExportError(
            f"no GPU to build for: {found.reason or 'the driver names none'}; build on the machine "
            "that will run the plan, or give --onnx-only for the graph and the trtexec commands"
        )
    return Machine.of(trt, found.gpus[0].capability, cuda)


def check_graph(folder: Path, manifest: Manifest) -> None:
    """Refuses a graph with outputs that trtexec cannot leave out, as `build_plan` does.

    Raises:
        ExportError: It has some.
    """
    if manifest.step.measures:
        raise ExportError(
            f"{folder}: the graph returns entropy and margin, which trtexec cannot leave "
            "out; export again with --target tensorrt, or build the plan with dawn-export"
        )


def check_precision(manifest: Manifest, trt: TensorRT, machine: Machine) -> None:
    """Refuses what the GPU cannot multiply in, or the parser cannot read.

    Raises:
        ExportError: The precision or the opset is beyond this machine.
    """
    precision = manifest.activations
    known = ("fp32", *precisions(machine.capability))
    if precision == "bf16" and precision not in known:
        sm = ".".join(map(str, machine.capability))
        raise ExportError(
            f"precision: a GPU of compute capability {sm} computes in {', '.join(known)}, the "
            f"artifact is {precision}; export it at fp16"
        )
    newest = newest_opset(trt.release) if trt.product == "tensorrt" else None
    # The one thing of opset 21 in an INT4 graph, blocks in DequantizeLinear, is read since 10.0.
    small = manifest.precision == "int4" and manifest.opset == INT4_OPSET
    if newest is not None and manifest.opset > newest and not small:
        raise ExportError(
            f"opset: {trt.name} reads up to {newest}, the graph is opset {manifest.opset}; export "
            "it with --dialect portable"
        )


def build_memory(artifact: Artifact, length: int, batch: int, gpu: Gpu | None) -> BuildMemory:
    """Estimates from below what building takes; builders have been seen to take twice as much.

    Args:
        artifact: What is built.
        length: Longest sequence in tokens.
        batch: Most sequences together.
        gpu: The GPU at hand; None without one.
    """
    weights = artifact.path(artifact.manifest.step.data).stat().st_size
    wanted = need(artifact.manifest, length, batch, on_gpu=True)
    return BuildMemory(
        host=2 * weights,
        device=weights + wanted.activations,
        shared=gpu is not None and gpu.integrated,
        host_free=read_available(),
        device_free=None if gpu is None else gpu.free_bytes,
    )


def check_memory(wanted: BuildMemory, folder: Path) -> None:
    """Refuses a build that cannot fit.

    Raises:
        ExportError: There is less memory than it takes at the least.
    """
    if wanted.missing:
        kind = "shared memory" if wanted.shared else "memory of host and GPU"
        raise ExportError(
            f"{folder}: building takes at least {_gb(wanted.host)} GB on the host and "
            f"{_gb(wanted.device)} GB on the GPU, and the {kind} is {_gb(wanted.missing)} GB "
            "short; stop other programs, add swap, or ask for a smaller --max-length or --batch"
        )


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f}"
