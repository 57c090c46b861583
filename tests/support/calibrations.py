"""Calibration of a small checkpoint on random tokens: what trying static quantisation needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from dawn_export.quantization.calibration_file import Calibration, ModelFingerprint, Stratum
from dawn_export.quantization.fingerprint import fingerprint, model_dims
from dawn_models import Checkpoint, ModelConfig, Transformer, load_transformer
from dawn_models.anatomy import NORMS, linear_names, norm_names


def calibrate(checkpoint: Checkpoint, *, smooth: bool = False) -> Calibration:
    """Largest inputs of every product over random tokens; smoothing by half of their magnitude."""
    model = load_transformer(checkpoint)
    layers, hidden = checkpoint.config.num_layers, checkpoint.config.hidden_size
    largest = _largest_inputs(model, linear_names(layers))
    smoothing: dict[str, tuple[float, ...]] = {}
    for norm in norm_names(layers) if smooth else ():
        layer, _, kind = norm.rpartition(".")
        vector = largest[f"{layer}.{NORMS[kind][0]}"].sqrt().clamp(min=0.1)
        smoothing[norm] = tuple(vector.tolist())
        for linear in NORMS[kind]:
            largest[f"{layer}.{linear}"] = largest[f"{layer}.{linear}"] / vector
    assert all(len(vector) == hidden for vector in smoothing.values())
    return Calibration(
        model=fingerprint(checkpoint),
        data_sha256="0" * 64,
        strata=(Stratum(0.0, 1.0, masked=True, rows=256),),
        settings={"clip": "max"},
        ranges={name: float(values.max()) for name, values in largest.items()},
        smoothing=smoothing,
    )


def made_up(config: ModelConfig) -> Calibration:
    """Ranges of 1 for a model of any size, whose graph alone is of interest."""
    dims = model_dims(config, config.max_length)
    return Calibration(
        model=ModelFingerprint(config.family, dims, "0" * 64, "0" * 64),
        data_sha256="0" * 64,
        strata=(Stratum(0.0, 1.0, masked=True, rows=1),),
        settings={},
        ranges=dict.fromkeys(linear_names(config.num_layers), 1.0),
    )


def _largest_inputs(model: Transformer, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Product -> largest magnitude of each of its input channels."""
    largest: dict[str, torch.Tensor] = {}

    def watch(name: str) -> Callable[..., None]:
        def note(_: Any, arguments: tuple[torch.Tensor, ...]) -> None:
            largest[name] = arguments[0].abs().flatten(0, -2).amax(dim=0)

        return note

    for name in names:
        model.get_submodule(name).register_forward_pre_hook(watch(name))
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        model(torch.randint(0, model.config.vocab_size, (4, 64), generator=generator))
    return largest
