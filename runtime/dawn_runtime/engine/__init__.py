"""Engines: back ends that run the step graph of an artifact."""

from dawn_runtime._checks import check_integer
from dawn_runtime.artifact import Artifact
from dawn_runtime.engine.protocol import Engine, EngineInfo, StepInputs, StepOutputs
from dawn_runtime.errors import OptionError
from dawn_runtime.manifest import GRAPH_FILE
from dawn_runtime.registry import unknown

ENGINES = ("auto", "onnxruntime-cpu")
"""Names `open_engine` takes; `auto` is the best that this machine has."""

__all__ = ["ENGINES", "Engine", "EngineInfo", "StepInputs", "StepOutputs", "open_engine"]


def open_engine(artifact: Artifact, name: str = "auto", *, threads: int | None = None) -> Engine:
    """Opens an engine on an artifact.

    Args:
        artifact: An opened artifact folder.
        name: One of `ENGINES`.
        threads: CPU threads, >= 1; None lets the back end choose.

    Raises:
        OptionError: Unknown engine, or a number of threads below 1.
        DependencyError: The package of the engine is not installed.
        EngineError: The back end cannot load the graph.
    """
    if name not in ENGINES:
        raise OptionError(unknown("engine", name, ENGINES))
    if threads is not None:
        check_integer("engine", "threads", threads, minimum=1)
    from dawn_runtime.engine.ort import OrtEngine

    return OrtEngine(artifact.path(GRAPH_FILE), artifact.manifest, threads=threads)
