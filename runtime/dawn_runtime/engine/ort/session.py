"""Sessions of ONNX Runtime: on a provider that really loads and computes; its errors."""

import mmap
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

from dawn_runtime.engine.canary import Canary, case_of, complaint, needed_canaries
from dawn_runtime.engine.operators import RECORD_PLACES, left_on_cpu
from dawn_runtime.engine.ort.operators import OWN_PRODUCTS, built_library, with_rows_products
from dawn_runtime.engine.ort.releases import KNOWN_WRONG, build_with_cuda, remedy
from dawn_runtime.errors import DependencyError, EngineError
from dawn_runtime.native import importing, native_errors

CPU_PROVIDER: Final = "CPUExecutionProvider"
CUDA_PROVIDER: Final = "CUDAExecutionProvider"

_ERRORS_ONLY = 3
"""Log severity of ONNX Runtime: errors and worse."""


_tried: set[tuple[Any, ...]] = set()
"""Provider, settings, canary and activations of what was found right in this process."""


def open_session(
    engine: str,
    graph: Path,
    providers: Sequence[str],
    options: Sequence[Mapping[str, str]] | None = None,
    *,
    data: Path | None = None,
    activations: str,
    threads: int | None = None,
    spinning: bool = True,
    low_memory: bool = False,
    own_operators: bool = False,
) -> Any:
    """Opens a session whose first provider is the one asked for and computes what it should.

    ONNX Runtime falls back to the CPU with no more than a line in its log, and leaves single nodes
    there without one; neither is taken here but for the arithmetic of shapes. Before
    the graph is loaded its operators are tried on numbers that are known, once for each process.

    Args:
        engine: Name of the engine, for messages.
        graph: Path of the graph.
        providers: Names of providers, the one asked for first.
        options: Their options; None for none.
        data: Path of the graph's weights; None if they are no link.
        activations: Those of the artifact: `fp32`, `fp16` or `bf16`.
        threads: Threads inside one operator on the CPU; None lets ONNX Runtime choose.
        spinning: Whether threads that wait may spin, which takes cores from all other work.
        low_memory: Whether weights stay in the mapped file, instead of copies in the layout and
            type that the kernels like best.
        own_operators: Whether the graph may run with the operators of `dawn_runtime.engine.ort.
            operators`, where their library is built; what it computes is the same.

    Raises:
        DependencyError: onnxruntime is not installed, or was built without the provider.
        EngineError: The provider or the graph does not load, an operator computes wrongly, or
            parts of the graph would run on the CPU though another provider was asked for.
    """
    onnxruntime = import_onnxruntime()
    first = providers[0]
    if first not in onnxruntime.get_available_providers():
        raise DependencyError(
            f"{engine}: onnxruntime {onnxruntime.__version__} was built without {first}; "
            f"{build_with_cuda()}, or use {_ON_CPU}"
        )
    for canary in needed_canaries(graph):
        mark = (first, low_memory, canary, activations)
        if mark not in _tried:
            wrong = try_canary(engine, canary, activations, providers, options, low_memory)
            if wrong:
                raise EngineError(f"{engine}: {wrong}; {remedy(onnxruntime.__version__)}")
            _tried.add(mark)
    library = built_library() if own_operators else None
    model = graph if library is None else _with_own_operators(engine, graph, library)
    with translated(engine, f"load {graph.name}"):
        settings = _settings(threads=threads, spinning=spinning, low_memory=low_memory)
        if first != CPU_PROVIDER:
            settings.add_session_config_entry(RECORD_PLACES, "1")
        if isinstance(model, bytes):
            settings.add_session_config_entry(FOLDER_OF_WEIGHTS, str(graph.parent))
            settings.register_custom_ops_library(str(library))
        linked = nullcontext() if data is None else _linked_weights(settings, graph, data)
        with linked:
            session = _open(engine, model, providers, options, settings)
        left = {} if first == CPU_PROVIDER else left_on_cpu(session)
    if left:
        nodes = ", ".join(f"{count} x {operator}" for operator, count in sorted(left.items()))
        raise EngineError(
            f"{engine}: ONNX Runtime {onnxruntime.__version__} has no kernels of {first} for "
            f"{nodes:.200} and would compute them on the CPU, with copies there and back; "
            f"{remedy(onnxruntime.__version__)}, or use {_ON_CPU}"
        )
    return session


def _with_own_operators(engine: str, graph: Path, library: Path) -> Path | bytes:
    """The bytes of a graph with the operators of a library in it; the graph itself if none fits.

    Raises:
        EngineError: The library does not load, or computes wrongly.
    """
    with translated(engine, f"read {graph.name}"):
        model = with_rows_products(graph.read_bytes())
    if model is None:
        return graph
    mark = (CPU_PROVIDER, library)
    if mark not in _tried:
        try:
            wrong = try_canary(engine, OWN_PRODUCTS, "fp32", [CPU_PROVIDER], library=library)
        except EngineError as error:
            raise EngineError(f"{error}; {_own_remedy(library)}") from error
        if wrong:
            raise EngineError(f"{engine}: {wrong}; {_own_remedy(library)}")
        _tried.add(mark)
    return model


def _own_remedy(library: Path) -> str:
    again = "python -m dawn_runtime.cli.build_operators"
    return f"build it again with {again}, or delete {library} to go without"


def try_canary(
    engine: str,
    canary: Canary,
    activations: str,
    providers: Sequence[str],
    options: Sequence[Mapping[str, str]] | None = None,
    low_memory: bool = False,
    *,
    library: Path | None = None,
) -> str:
    """Runs a tiny graph whose answers are known; `library` has operators of our own for it.

    Returns:
        What came and what was expected, in one line, if the answers are wrong; else nothing.

    Raises:
        EngineError: It does not run.
    """
    case = case_of(canary, activations)
    own = None if options is None else [_for_canary(entry) for entry in options]
    with translated(engine, f"try {canary.name} ({activations})"):
        settings = _settings(threads=1, spinning=False, low_memory=low_memory)
        if library is not None:
            settings.register_custom_ops_library(str(library))
        session = _open(engine, case.model, providers, own, settings)
        found = session.run(list(case.expected), case.inputs)
    wrong = complaint(case, dict(zip(case.expected, found, strict=True)))
    version = import_onnxruntime().__version__
    known = f" (known of this release: {KNOWN_WRONG[version]})" if version in KNOWN_WRONG else ""
    return wrong and f"ONNX Runtime {version} computes {wrong}{known}"


def _for_canary(options: Mapping[str, str]) -> dict[str, str]:
    """Options of a provider without those about the stream and the graphs of one engine."""
    left_out = ("user_compute_stream", "enable_cuda_graph")
    return {name: value for name, value in options.items() if name not in left_out}


def _open(
    engine: str,
    model: Path | bytes,
    providers: Sequence[str],
    options: Sequence[Mapping[str, str]] | None,
    settings: Any,
) -> Any:
    """Opens a session on the first provider, or says why it is not the first one."""
    onnxruntime = import_onnxruntime()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about falling back, which is an error below
        session = onnxruntime.InferenceSession(
            str(model) if isinstance(model, Path) else model,
            sess_options=settings,
            providers=list(providers),
            provider_options=None if options is None else [dict(entry) for entry in options],
        )
    if session.get_providers()[0] != providers[0]:
        raise EngineError(_does_not_load(engine, providers[0]))
    session.disable_fallback()
    return session


def _settings(*, threads: int | None, spinning: bool, low_memory: bool) -> Any:
    """Options of a session."""
    onnxruntime = import_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = _ERRORS_ONLY
    # It plans one block of memory for every set of input shapes it meets and keeps the plans and
    # the blocks. Decoding meets ever new shapes, so that only grows; see scripts/soak.py.
    settings.enable_mem_pattern = False
    if threads is not None:
        settings.intra_op_num_threads = threads
    if not spinning:
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if low_memory:
        # The level above turns all FP16 weights into FP32 ones as soon as the session is opened;
        # prepacking copies every matrix; the arena never gives a converted one back.
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        settings.add_session_config_entry("session.disable_prepacking", "1")
        settings.enable_cpu_mem_arena = False
    return settings


@contextmanager
def _linked_weights(settings: Any, graph: Path, weights: Path) -> Iterator[None]:
    """Gives a session weights that are a link into a cache, where it would not follow the link.

    ONNX Runtime reads weights that lie beside the graph when all links are followed, as they do in
    the cache of the Hugging Face Hub; 1.24.1 compares the names before it follows them. Elsewhere
    it refuses links since 1.24, and since then takes the bytes of a file from memory, which costs
    a copy of them. Tried with every release from 1.23.1 to 1.32.0.
    """
    real = [Path(os.path.realpath(path)) for path in (graph, weights)]
    refused = weights.is_symlink() and import_onnxruntime().__version__ in _REFUSES_LINKS
    follows = real[0].parent == real[1].parent and not refused
    give = getattr(settings, "add_external_initializers_from_files_in_memory", None)
    if follows or give is None:
        yield
        return
    with weights.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        give([weights.name], [memory], [len(memory)])
        yield


_REFUSES_LINKS: Final = ("1.24.0", "1.24.1")

FOLDER_OF_WEIGHTS: Final = "session.model_external_initializers_file_folder_path"
"""Option of a session: where the weights lie of a model that is given as bytes."""

_ON_CPU = "engine='onnxruntime-cpu'"


def _does_not_load(engine: str, provider: str) -> str:
    """Says why a provider does not load, as a process of its own finds out."""
    from dawn_runtime.machine.providers import load_failure

    reason = load_failure(provider) or "it loads alone, but not with this graph"
    return (
        f"{engine}: {provider} does not load: {reason:.300}; the usual cause is another major "
        "version of CUDA, cuDNN or TensorRT than onnxruntime was built with, see dawn-doctor; "
        f"{_ON_CPU} runs without it"
    )


@contextmanager
def translated(engine: str, action: str) -> Iterator[None]:
    """Turns whatever ONNX Runtime raises into an `EngineError` of one line.

    Its exceptions share no base class, and what else comes through its Python layer (no memory, a
    type that it cannot take) is anything.

    Args:
        engine: Name of the engine.
        action: What is being done, after "cannot".
    """
    with native_errors(lambda reason: EngineError(f"{engine}: cannot {action}: {reason}")):
        yield


def import_onnxruntime() -> Any:
    """Imports onnxruntime, which has no type information.

    Raises:
        DependencyError: It is not installed, or does not load.
    """
    remedy = "pip install 'dawn-edge[cpu]' or, with an NVIDIA GPU, 'dawn-edge[cuda]'"
    with importing("the engine needs", "onnxruntime", remedy):
        import onnxruntime  # type: ignore[import-untyped]
    return onnxruntime
