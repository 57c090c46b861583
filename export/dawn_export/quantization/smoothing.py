"""SmoothQuant folded into the weights: channels with outliers are made smaller before a product.

For a norm with weight g and the products W [out, in] that read it, and s > 0 for every channel,

    (x * g) @ W.T  ==  (x * (g / s)) @ (W * s).T

so the network computes the same and no operator is added (arXiv 2211.10438, section 4).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from dawn_export.quantization.calibration_file import NORMS, Calibration


def folded(calibration: Calibration | None) -> Mapping[str, torch.Tensor]:
    """Parameter -> float32 [in] that its last axis is multiplied with; others stay as they are."""
    if calibration is None:
        return {}
    factors: dict[str, torch.Tensor] = {}
    for norm, vector in calibration.smoothing.items():
        layer, _, kind = norm.rpartition(".")
        smooth = torch.tensor(vector, dtype=torch.float32)
        factors[f"{norm}.weight"] = 1 / smooth
        factors |= {f"{layer}.{linear}.weight": smooth for linear in NORMS[kind]}
    return factors
