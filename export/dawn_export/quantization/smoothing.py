"""SmoothQuant folded into the weights: channels with outliers are made smaller before a product.

For a norm with weight g and the products W [out, in] that read it, and s > 0 for every channel,

    (x * g) @ W.T  ==  (x * (g / s)) @ (W * s).T

so the network computes the same and no operator is added (arXiv 2211.10438, section 4).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from dawn_export.quantization.calibration_file import Calibration
from dawn_models import ModelConfig
from dawn_models.anatomy import full_name, inputs, layer_parts, split_name


def folded(calibration: Calibration | None, config: ModelConfig) -> Mapping[str, torch.Tensor]:
    """Parameter -> float32 [in] that its last axis is multiplied with; others stay as they are.

    Args:
        calibration: Smoothing of the norms that have one; None is no smoothing.
        config: Of the model that it was made for.
    """
    if calibration is None:
        return {}
    factors: dict[str, torch.Tensor] = {}
    for norm, vector in calibration.smoothing.items():
        smooth = torch.tensor(vector, dtype=torch.float32)
        factors[f"{norm}.weight"] = 1 / smooth
        factors |= {f"{reader}.weight": smooth for reader in _readers(norm, config)}
    return factors


def _readers(norm: str, config: ModelConfig) -> list[str]:
    """The products that read a norm, by their names in the model."""
    layer, name = split_name(norm)
    if layer is None:
        raise ValueError(f"{norm} is in no layer; nothing is folded into it")
    found = inputs(layer_parts(config, config.kind(layer)))
    return [
        full_name(layer, one.name) for group in found if group.name == name for one in group.readers
    ]
