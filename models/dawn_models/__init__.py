"""Architecture descriptions and checkpoint reading: what a model is, never how it is run."""

from __future__ import annotations

from dawn_models.checkpoint import Checkpoint, TensorInfo
from dawn_models.config import ModelConfig
from dawn_models.errors import CheckpointError, ConfigError, WeightsError
from dawn_models.families import FAMILIES, family_named, read_config
from dawn_models.families.family import Family
from dawn_models.loading import load_transformer, make_transformer
from dawn_models.reading import TensorReader
from dawn_models.shapes import parameter_shapes
from dawn_models.transformer import KeyValue, StepResult, Transformer

__all__ = [
    "FAMILIES",
    "Checkpoint",
    "CheckpointError",
    "ConfigError",
    "Family",
    "KeyValue",
    "ModelConfig",
    "StepResult",
    "TensorInfo",
    "TensorReader",
    "Transformer",
    "WeightsError",
    "family_named",
    "load_transformer",
    "make_transformer",
    "parameter_shapes",
    "read_config",
]
