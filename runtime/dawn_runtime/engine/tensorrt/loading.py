"""From a plan file to an engine in memory."""

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dawn_runtime.contract import ENTROPY_ROWS, TensorSpec
from dawn_runtime.engine.tensorrt.module import TensorRT, make_log, reason
from dawn_runtime.engine.tensorrt.plans import PlanRecord, rebuild_hint, unmeasured
from dawn_runtime.errors import EngineError
from dawn_runtime.manifest import Manifest

_TYPES = {
    "int64": "INT64",
    "bool": "BOOL",
    "float32": "FLOAT",
    "float16": "HALF",
    "bfloat16": "BF16",
    "uint8": "UINT8",
}
"""Type in the contract -> member of `DataType`."""


@dataclass(slots=True)
class LoadedEngine:
    """An engine and what must live as long as it does.

    Attributes:
        trt: The module it belongs to.
        engine: The `ICudaEngine`; None after `close`.
        runtime: The `IRuntime` that loaded it.
        log: Logger of both.
    """

    trt: TensorRT
    engine: Any
    runtime: Any
    log: Any

    def fail(self, action: str) -> EngineError:
        """Returns the error for a call of TensorRT that did not work."""
        return EngineError(f"{self.trt.name}: cannot {action}: {reason(self.log)}")

    def close(self) -> None:
        """Frees the engine before the runtime it came from."""
        self.engine = None
        self.runtime = None


def load_plan(trt: TensorRT, folder: Path, record: PlanRecord, manifest: Manifest) -> LoadedEngine:
    """Loads a plan whose key fits this machine.

    Args:
        trt: The module that shall run it.
        folder: Folder of the artifact.
        record: The plan.
        manifest: Manifest of the artifact.

    Raises:
        EngineError: The plan is missing or damaged, TensorRT refuses it, its weights cannot be put
            in, or it has other inputs and outputs than the artifact.
    """
    path = record.check_file(folder)
    log = make_log(trt)
    runtime = trt.module.Runtime(log)
    # A version-compatible plan brings the code of its own lean runtime, which is run only then.
    runtime.engine_host_code_allowed = record.version_compatible
    loaded = LoadedEngine(trt, _deserialize(runtime, path), runtime, log)
    if loaded.engine is None:
        raise EngineError(
            f"{trt.name}: refuses {path}: {reason(log)}; {rebuild_hint(folder)}, or free memory"
        )
    if record.stripped:
        _refit(loaded, folder / manifest.step.file)
    _check_tensors(loaded, manifest, record, folder)
    return loaded


def _deserialize(runtime: Any, path: Path) -> Any:
    """Maps the file, so that the weights are read once and never copied on the host."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as plan:
        return runtime.deserialize_cuda_engine(plan)


def _refit(loaded: LoadedEngine, graph: Path) -> None:
    """Puts the weights of the graph into an engine that was built without them."""
    module = loaded.trt.module
    if not hasattr(module, "OnnxParserRefitter"):
        raise EngineError(
            f"{loaded.trt.name}: the lean runtime cannot put weights into a plan without them; "
            "install all of TensorRT, or build again without --strip-weights"
        )
    refitter = module.Refitter(loaded.engine, loaded.log)
    parser = module.OnnxParserRefitter(refitter, loaded.log)
    if not parser.refit_from_file(str(graph)) or not refitter.refit_cuda_engine():
        raise loaded.fail(f"put the weights of {graph} into the engine")


def _check_tensors(
    loaded: LoadedEngine, manifest: Manifest, record: PlanRecord, folder: Path
) -> None:
    engine, manifest = loaded.engine, unmeasured(manifest)
    found = {engine.get_tensor_name(i) for i in range(engine.num_io_tensors)}
    expected = {spec.name for spec in (*manifest.inputs, *manifest.outputs)}
    if not record.logits:
        expected.remove("logits")
    found.discard(ENTROPY_ROWS)  # a network keeps inputs that nothing reads, or does not
    if found != expected:
        wrong = ", ".join(sorted(found ^ expected)[:4])
        raise EngineError(
            f"{folder / record.name}: inputs and outputs differ from the artifact's at {wrong}; "
            f"{rebuild_hint(folder)}"
        )
    for specs, mode in ((manifest.inputs, "INPUT"), (manifest.outputs, "OUTPUT")):
        for spec in (spec for spec in specs if spec.name in found):
            _check_tensor(loaded, spec, mode, folder / record.name)


def _check_tensor(loaded: LoadedEngine, spec: TensorSpec, mode: str, plan: Path) -> None:
    """Refuses a tensor of another type, direction or place than what is bound to it."""
    engine, module = loaded.engine, loaded.trt.module
    # Whoever builds a plan elsewhere may choose other types; nothing is converted when it runs.
    there = (
        ("type", engine.get_tensor_dtype(spec.name), getattr(module.DataType, _TYPES[spec.dtype])),
        ("mode", engine.get_tensor_mode(spec.name), getattr(module.TensorIOMode, mode)),
        ("location", engine.get_tensor_location(spec.name), module.TensorLocation.DEVICE),
    )
    for what, got, expected in there:
        if got != expected:
            raise EngineError(
                f"{plan}: {what} of {spec.name} is {_named(got)}; expected {_named(expected)}; "
                f"{rebuild_hint(plan.parent)}"
            )


def _named(value: Any) -> str:
    """Last part of the name of an enumeration's member."""
    return str(getattr(value, "name", value)).rpartition(".")[2]
