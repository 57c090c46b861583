"""Options of each engine, and how `name:key=value` names them; nothing of a back end is loaded.

To add an option: a field here, and an argument of that name of the function in `opener`. To add an
engine: one class.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from dawn_runtime.checks import shown
from dawn_runtime.engine.checks import MOST_THREADS
from dawn_runtime.errors import OptionError
from dawn_runtime.option_fields import Options, option
from dawn_runtime.registry import Registry, parse_options, unknown

AUTO = "auto"
"""What artifact and installed packages are for."""


class EngineOptions(Options):
    """Options of one engine.

    Attributes:
        name: Of the engine.
        opener: `module:function` of (artifact, one keyword for each option).
    """

    __slots__ = ()

    kind: ClassVar[str] = "engine"
    name: ClassVar[str]
    opener: ClassVar[str]

    def arguments(self) -> dict[str, Any]:
        """Returns the options by name."""
        listed = fields(self)  # type: ignore[arg-type]  # subclasses are dataclasses
        return {field.name: getattr(self, field.name) for field in listed}


ENGINE_OPTIONS: Registry[EngineOptions] = Registry("engine", EngineOptions)
"""Options of all engines by name."""


@ENGINE_OPTIONS.register
@dataclass(frozen=True, slots=True)
class OnnxRuntimeCpu(EngineOptions):
    """ONNX Runtime on the CPU.

    Attributes:
        threads: CPU threads; None takes as many as help, see `dawn_runtime.threads`.
        low_memory: Whether weights stay in the mapped file; slower, for models that fit the memory
            no other way.
    """

    name: ClassVar[str] = "onnxruntime-cpu"
    opener: ClassVar[str] = "dawn_runtime.engine.ort.cpu:open_cpu"

    threads: int | None = option(None, 1, MOST_THREADS, "CPU threads", kind=int)
    low_memory: bool = option(False, help="leave the weights in the mapped file: slower")


@ENGINE_OPTIONS.register
@dataclass(frozen=True, slots=True)
class OnnxRuntimeCuda(EngineOptions):
    """ONNX Runtime on the first GPU.

    Attributes:
        threads: CPU threads of what is left to the CPU.
        cuda_graphs: Whether runs whose shapes come again are captured and replayed as CUDA graphs.
    """

    name: ClassVar[str] = "onnxruntime-cuda"
    opener: ClassVar[str] = "dawn_runtime.engine.ort.device:open_cuda"

    threads: int | None = option(None, 1, MOST_THREADS, "CPU threads", kind=int)
    cuda_graphs: bool = option(False, help="replay runs whose shapes come again")


@ENGINE_OPTIONS.register
@dataclass(frozen=True, slots=True)
class TensorRT(EngineOptions):
    """TensorRT on the first GPU; it always replays runs whose shapes come again."""

    name: ClassVar[str] = "tensorrt"
    opener: ClassVar[str] = "dawn_runtime.engine.tensorrt.engine:open_tensorrt"


def engine_names() -> tuple[str, ...]:
    """Returns the names that may be given, `auto` first."""
    return (AUTO, *ENGINE_OPTIONS.names())


def split_engine(text: object) -> tuple[str, dict[str, Any]]:
    """Splits `onnxruntime-cpu:threads=2,low_memory=true` into name and options.

    Args:
        text: What was given.

    Raises:
        OptionError: There is no engine of that name, or the options are malformed.
    """
    name, colon, listed = text.partition(":") if isinstance(text, str) else (text, "", "")
    if not isinstance(name, str) or name not in engine_names():
        raise OptionError(unknown("engine", name, engine_names()))
    return name, parse_options(listed.split(",") if colon else (), "engine option")


def merged(listed: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options of the engine's text together with those given as arguments.

    Args:
        listed: Those of the text.
        arguments: Those of arguments; None and False are not given.

    Raises:
        OptionError: An option is given in both ways with different values.
    """
    given = {name: it for name, it in arguments.items() if it is not None and it is not False}
    for name, value in given.items():
        if name in listed and (listed[name] != value or type(listed[name]) is not type(value)):
            raise OptionError(
                f"engine: {name} is {shown(value)} and in the name of the engine "
                f"{shown(listed[name])}; give it once"
            )
    return {**listed, **given}


def engine_options(name: str, given: Mapping[str, Any]) -> EngineOptions:
    """Returns the options of an engine.

    Args:
        name: Its name, not `auto`.
        given: Values of its options.

    Raises:
        OptionError: It has no such option, or a value is out of range.
    """
    own = ENGINE_OPTIONS.fields_of(name)
    for given_name in given:
        owners = [it for it in ENGINE_OPTIONS.names() if given_name in ENGINE_OPTIONS.fields_of(it)]
        if owners and given_name not in own:
            raise OptionError(
                f"engine: {given_name} is for {' and '.join(owners)} and not for {name}; "
                "leave it out"
            )
    return ENGINE_OPTIONS.make(name, given)
