"""Tells models apart by a few kilobytes of them, so that ranges are not used for another one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING, Field, asdict, fields, replace

import torch

from dawn_export.quantization.calibration_file import ModelFingerprint
from dawn_models import Checkpoint, ModelConfig, parameter_shapes
from dawn_runtime.manifest_records import Dims

_SAMPLE_VALUES = 64


def fingerprint(checkpoint: Checkpoint) -> ModelFingerprint:
    """Returns the fingerprint of a checkpoint; reads the first values of every tensor.

    The weights are hashed as they are stored: the same model in another element type is another
    one, whose ranges differ a little too.

    Raises:
        WeightsError: A shard cannot be read.
    """
    # Neither ranges nor smoothing depend on an adapter for drafts, which may be left out.
    config = replace(checkpoint.config, draft=None)
    switches = json.dumps(_switches(config), sort_keys=True).encode()
    digest = hashlib.sha256()
    for parameter in sorted(parameter_shapes(config)):
        sample = checkpoint.tensor(parameter).flatten()[:_SAMPLE_VALUES].contiguous()
        digest.update(parameter.encode())
        digest.update(sample.view(torch.uint8).numpy().tobytes())
    return ModelFingerprint(
        family=config.family,
        dims=model_dims(config, config.max_length),
        config_sha256=hashlib.sha256(switches).hexdigest(),
        weights_sha256=digest.hexdigest(),
    )


def _switches(config: ModelConfig) -> dict[str, object]:
    """Every switch that is not at its default, so that one that is new changes no older model."""
    values = asdict(config)
    return {
        entry.name: values[entry.name]
        for entry in fields(config)
        if getattr(config, entry.name) != _default(entry)
    }


def _default(entry: Field[object]) -> object:
    return entry.default if entry.default_factory is MISSING else entry.default_factory()


def model_dims(config: ModelConfig, max_length: int) -> Dims:
    """Sizes of a model as manifests have them."""
    return Dims(
        layers=config.num_layers,
        hidden=config.hidden_size,
        heads=config.num_heads,
        kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        vocab_size=config.vocab_size,
        max_length=max_length,
    )
