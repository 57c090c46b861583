"""How a plan is built: flags, profiles, the timing cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from dawn_export.errors import ExportError
from dawn_export.tensorrt.files import write_whole
from dawn_export.tensorrt.monitor import make_monitor
from dawn_export.tensorrt.options import EngineOptions
from dawn_runtime.contract import TensorSpec
from dawn_runtime.engine.tensorrt.module import TensorRT
from dawn_runtime.engine.tensorrt.plans import TIMING_CACHE
from dawn_runtime.engine.tensorrt.profiles import Profile, shape_of
from dawn_runtime.files import read_plain

_MAX_CACHE_BYTES: Final = 256 * 2**20


def make_config(
    trt: TensorRT,
    builder: Any,
    options: EngineOptions,
    profiles: Sequence[Profile],
    inputs: Sequence[TensorSpec],
    *,
    progress: bool,
    cancelled: Callable[[], bool],
) -> Any:
    """Returns the configuration of a build.

    Args:
        trt: The module.
        builder: Its builder.
        options: What the plan is for.
        profiles: Its optimisation profiles, in order.
        inputs: Graph inputs of the artifact.
        progress: Whether to show a progress bar on standard error.
        cancelled: Asked after every step whether the build shall stop.
    """
    module = trt.module
    config = builder.create_builder_config()
    # FP32 artifacts are for exactness; TF32 rounds the factors of a product to 11 bits.
    config.clear_flag(module.BuilderFlag.TF32)
    config.profiling_verbosity = module.ProfilingVerbosity.DETAILED  # for the report on layers
    config.progress_monitor = make_monitor(trt, progress=progress, cancelled=cancelled)
    if options.version_compatible:
        config.set_flag(module.BuilderFlag.VERSION_COMPATIBLE)
    if options.stripped:
        # The weights will be the very same, so nothing is given up for being able to change them.
        config.set_flag(module.BuilderFlag.REFIT_IDENTICAL)
        config.set_flag(module.BuilderFlag.STRIP_PLAN)
    if options.capability is not None:
        _choose_gpu(module, config, options.capability)
    for profile in profiles:
        config.add_optimization_profile(_profile(builder, profile, inputs))
    return config


def _choose_gpu(module: Any, config: Any, capability: tuple[int, int]) -> None:
    """Names the GPU to build for, where it need not be at hand."""
    name = "SM{}{}".format(*capability)
    known = [entry for entry in dir(module.ComputeCapability) if entry.startswith("SM")]
    if name not in known:
        raise ExportError(
            f"compute capability {'.'.join(map(str, capability))}: this TensorRT builds for "
            f"{', '.join(known)}; build on the machine that will run the plan"
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(module.ComputeCapability, name), 0)


def _profile(builder: Any, profile: Profile, inputs: Sequence[TensorSpec]) -> Any:
    made = builder.create_optimization_profile()
    for spec in inputs:
        made.set_shape(spec.name, *(shape_of(spec, profile.sizes(which)) for which in range(3)))
    return made


def load_timing_cache(config: Any, folder: Path) -> None:
    """Gives a build the times measured by earlier ones on this machine, none if they do not fit."""
    path = folder / TIMING_CACHE
    known = b""
    with suppress(OSError, ValueError):  # TensorRT itself knows a cache of its own
        known = read_plain(path, _MAX_CACHE_BYTES)
    if not config.set_timing_cache(config.create_timing_cache(known), False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def save_timing_cache(config: Any, folder: Path) -> None:
    """Keeps the times that a build measured; TensorRT for RTX measures none."""
    cache = config.get_timing_cache()
    if cache is not None:
        write_whole(folder / TIMING_CACHE, memoryview(cache.serialize()))
