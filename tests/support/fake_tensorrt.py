"""A `tensorrt` that parses, builds, loads and runs step graphs, with ONNX Runtime underneath.

What it offers is checked against the real bindings (test_tensorrt_surface.py), so code that works
with it calls nothing that does not exist. `fake_tensorrt("10.3.0")` lacks what came later.
"""

from __future__ import annotations

from types import ModuleType

from support.fake_tensorrt_build import (
    Builder,
    IAttention,
    IAttentionBoundaryLayer,
    IBuilderConfig,
    INetworkDefinition,
    IOptimizationProfile,
    ITimingCache,
    OnnxParser,
    ParserError,
)
from support.fake_tensorrt_run import (
    EngineInspector,
    ICudaEngine,
    IExecutionContext,
    OnnxParserRefitter,
    Refitter,
    Runtime,
)
from support.fake_tensorrt_world import (
    BuilderFlag,
    DataType,
    ExecutionContextAllocationStrategy,
    ILogger,
    IProgressMonitor,
    LayerInformationFormat,
    NetworkDefinitionCreationFlag,
    ProfilingVerbosity,
    TensorIOMode,
    TensorLocation,
    World,
    current,
    enter,
)

_SINCE_ATTENTION = (10, 14)

CLASSES = (
    *(ILogger, IProgressMonitor, NetworkDefinitionCreationFlag, BuilderFlag, ProfilingVerbosity),
    *(ExecutionContextAllocationStrategy, LayerInformationFormat, ITimingCache),
    *(DataType, TensorIOMode, TensorLocation),
    *(IOptimizationProfile, IBuilderConfig, INetworkDefinition, OnnxParser, ParserError, Builder),
    *(Runtime, ICudaEngine, EngineInspector, IExecutionContext, Refitter, OnnxParserRefitter),
)
LATER = (IAttentionBoundaryLayer, IAttention)


def fake_tensorrt(version: str, world: World | None = None) -> ModuleType:
    """A module of that version, in a world of its own; what was added later is not in it."""
    module = ModuleType("tensorrt")
    module.__dict__["__version__"] = version
    later = tuple(map(int, version.split(".")[:2])) >= _SINCE_ATTENTION
    for cls in (*CLASSES, *(LATER if later else ())):
        setattr(module, cls.__name__, cls)
    enter(world or World())
    current().attention = later
    return module
