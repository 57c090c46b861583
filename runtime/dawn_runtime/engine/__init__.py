"""Engines: back ends that run the step graph of an artifact."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from dawn_runtime.artifact import Artifact
from dawn_runtime.checks import check_flag, shown
from dawn_runtime.engine.checks import check_threads
from dawn_runtime.engine.operators import belongs_on_cpu
from dawn_runtime.engine.options import (
    AUTO,
    EngineOptions,
    engine_names,
    engine_options,
    merged,
    split_engine,
)
from dawn_runtime.engine.protocol import Engine, StepInputs, StepOutputs
from dawn_runtime.engine_info import EngineInfo
from dawn_runtime.errors import OptionError

ENGINES = engine_names()
"""Names `open_engine` takes; `auto` is what the artifact and the installed packages are for."""

__all__ = [
    "ENGINES",
    "Engine",
    "EngineInfo",
    "EngineOptions",
    "StepInputs",
    "StepOutputs",
    "open_engine",
]


def open_engine(
    artifact: Artifact,
    name: str | EngineOptions = AUTO,
    *,
    threads: int | None = None,
    low_memory: bool = False,
    cuda_graphs: bool = False,
) -> Engine:
    """Opens an engine on an artifact.

    An engine that does not load is an error with the reason, never another engine. `auto` takes a
    plan of TensorRT if the folder has one, the CPU for integers that were exported for it, and else
    the GPU if onnxruntime was built for one.

    Args:
        artifact: An opened artifact folder.
        name: One of `ENGINES`, perhaps with options such as `onnxruntime-cpu:threads=2`, or options
            of `dawn_runtime.engine.options`. What follows are shorthands for some of them.
        threads: CPU threads, 1 to `checks.MOST_THREADS`; None takes as many as help, see
            `dawn_runtime.threads`.
        low_memory: Whether weights stay in the mapped file; slower, for models that fit the memory
            no other way, and for `onnxruntime-cpu` alone.
        cuda_graphs: Whether runs whose shapes come again are captured and replayed as CUDA graphs,
            for `onnxruntime-cuda` alone; `tensorrt` always does so. Not yet tried on a GPU.

    Raises:
        OptionError: Unknown engine, a number of threads out of range, an option of another engine,
            or an argument of another type.
        DependencyError: The package of the engine is not installed.
        EngineError: The back end cannot load the graph, or would compute its products elsewhere.
    """
    if not isinstance(artifact, Artifact):
        raise OptionError(f"engine: artifact is {shown(artifact)}; expected an opened Artifact")
    threads = check_threads(threads)
    flags = {"low_memory": low_memory, "cuda_graphs": cuda_graphs}
    shorthands = {key: check_flag("engine", key, value) for key, value in flags.items()}
    options = _options(artifact, name, {"threads": threads, **shorthands})
    module, _, function = options.opener.partition(":")
    engine: Engine = getattr(import_module(module), function)(artifact, **options.arguments())
    return engine


def _options(
    artifact: Artifact, engine: str | EngineOptions, shorthands: dict[str, Any]
) -> EngineOptions:
    """Returns the options of the engine that is asked for, in whatever way they were given."""
    if isinstance(engine, EngineOptions):
        if any(value not in (None, False) for value in shorthands.values()):
            raise OptionError(
                f"engine: {', '.join(shorthands)} go with an engine given by name; got options of "
                f"{engine.name}"
            )
        return engine
    name, listed = split_engine(engine)
    given = merged(listed, shorthands)
    return engine_options(_chosen(artifact) if name == AUTO else name, given)


def _chosen(artifact: Artifact) -> str:
    """The engine that `auto` stands for."""
    if any(artifact.folder.glob("*.engine.json")):  # a plan was built for this machine
        return "tensorrt"
    if find_spec("onnxruntime") is not None and not belongs_on_cpu(
        artifact.manifest, artifact.graph()
    ):
        from dawn_runtime.engine.ort.session import CUDA_PROVIDER, import_onnxruntime

        if CUDA_PROVIDER in import_onnxruntime().get_available_providers():
            return "onnxruntime-cuda"
    return "onnxruntime-cpu"
