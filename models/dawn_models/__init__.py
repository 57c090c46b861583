"""Architecture descriptions and checkpoint reading: what a model is, never how it is run.

What needs torch is loaded when it is asked for: importing this package does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dawn_models.anatomy import parameter_shapes
from dawn_models.config import Attention, LayerKind, ModelConfig
from dawn_models.errors import CheckpointError, ConfigError, WeightsError
from dawn_models.families import FAMILIES, family_named, read_config
from dawn_models.families.family import Family
from dawn_models.families.told import Told

if TYPE_CHECKING:
    from dawn_models.auto.registration import register
    from dawn_models.checkpoint import Checkpoint
    from dawn_models.loading import load_transformer, make_transformer
    from dawn_models.reading import TensorReader
    from dawn_models.tensor_files import TensorInfo
    from dawn_models.transformer import KeyValue, StepResult, Transformer

_WITH_TORCH = {
    "Checkpoint": "checkpoint",
    "KeyValue": "transformer",
    "StepResult": "transformer",
    "TensorInfo": "tensor_files",
    "TensorReader": "reading",
    "Transformer": "transformer",
    "load_transformer": "loading",
    "make_transformer": "loading",
    "register": "auto.registration",
}
"""Name -> module that it is loaded from."""

__all__ = [
    "FAMILIES",
    "Attention",
    "Checkpoint",
    "CheckpointError",
    "ConfigError",
    "Family",
    "KeyValue",
    "LayerKind",
    "ModelConfig",
    "StepResult",
    "TensorInfo",
    "TensorReader",
    "Told",
    "Transformer",
    "WeightsError",
    "family_named",
    "load_transformer",
    "make_transformer",
    "parameter_shapes",
    "read_config",
    "register",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *_WITH_TORCH})


def __getattr__(name: str) -> Any:
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_WITH_TORCH[name]}"), name)
    globals()[name] = found
    return found
