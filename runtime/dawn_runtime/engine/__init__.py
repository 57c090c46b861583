"""Engines: back ends that run the step graph of an artifact."""

from importlib import import_module
from importlib.util import find_spec

from dawn_runtime.artifact import Artifact
from dawn_runtime.checks import check_flag, shown
from dawn_runtime.engine.checks import check_threads
from dawn_runtime.engine.operators import belongs_on_cpu
from dawn_runtime.engine.protocol import Engine, EngineInfo, StepInputs, StepOutputs
from dawn_runtime.errors import OptionError
from dawn_runtime.registry import unknown

_OPENERS = {
    "onnxruntime-cpu": "dawn_runtime.engine.ort.cpu:open_cpu",
    "onnxruntime-cuda": "dawn_runtime.engine.ort.device:open_cuda",
    "tensorrt": "dawn_runtime.engine.tensorrt.engine:open_tensorrt",
}
"""Name -> function of (artifact, threads, options of its own); imported when it is opened."""

_OWNERS = {"low_memory": "onnxruntime-cpu", "cuda_graphs": "onnxruntime-cuda"}
"""Option -> the one engine that has it."""

_MOST_THREADS = 4096
"""More than any machine has cores; native code takes any number and dies of it."""

ENGINES = ("auto", *_OPENERS)
"""Names `open_engine` takes; `auto` is what the artifact and the installed packages are for."""

__all__ = [
    "ENGINES",
    "Engine",
    "EngineInfo",
    "StepInputs",
    "StepOutputs",
    "open_engine",
]


def open_engine(
    artifact: Artifact,
    name: str = "auto",
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
        name: One of `ENGINES`.
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
    if not isinstance(name, str) or name not in ENGINES:
        raise OptionError(unknown("engine", name, ENGINES))
    threads = check_threads(threads)
    chosen = _chosen(artifact) if name == "auto" else name
    given = {"low_memory": low_memory, "cuda_graphs": cuda_graphs}
    options = {name: True for name, value in given.items() if check_flag("engine", name, value)}
    for option in options:
        if _OWNERS[option] != chosen:
            raise OptionError(
                f"engine: {option} is for {_OWNERS[option]} and not for {chosen}; leave it out"
            )
    module, _, function = _OPENERS[chosen].partition(":")
    engine: Engine = getattr(import_module(module), function)(artifact, threads=threads, **options)
    return engine


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
