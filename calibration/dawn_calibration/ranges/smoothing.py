"""SmoothQuant (arXiv 2211.10438): channels of activations made alike, at the weights' expense.

With X the input of some products, W their weights [out, in], a_c the largest magnitude of channel c
of X and w_c that of column c of all W::

    s_c = a_c^strength / w_c^(1 - strength)          X W^T = (X / s) (W s)^T

X / s is computed by the norm before it, whose weight is divided by s once and for all. The strength
is searched for each norm: the one with the least square error of the products in INT8 (activations
with one range, weights with one for each row of W) on sampled rows. No smoothing is tried as well,
so that on the sample it never gets worse.

The range of a candidate is the one that the chosen clip gives its X / s. What was counted of X
cannot tell it, because the counts do not know the channels, so magnitudes are counted anew on the
sampled rows, every stratum alike; the largest of all X / s is known exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from dawn_calibration.ranges.clipping import LEVELS, Clip
from dawn_calibration.ranges.histogram import even_mixture
from dawn_calibration.ranges.samples import Samples
from dawn_calibration.ranges.sites import Site
from dawn_calibration.ranges.statistics import Statistics, count_magnitudes
from dawn_models import Transformer

STRENGTHS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Tried beside no smoothing."""

_LEAST_SHARE = 1e-4
"""Channels below this share of the largest one are treated as having it: a channel that was never
active would get a smoothing of zero."""


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What is known of the common input of some products.

    Attributes:
        rows: float32 [n, C] sampled inputs.
        strata: int64 [n] stratum of each of them.
        largest: float32 [C] largest magnitude of each channel over all inputs.
    """

    rows: torch.Tensor
    strata: NDArray[np.int64]
    largest: torch.Tensor

    def smoothed(self, vector: torch.Tensor) -> Inputs:
        """Returns the same of X / s."""
        return Inputs(self.rows / vector, self.strata, self.largest / vector)

    def range_of(self, clip: Clip) -> float:
        """The largest magnitude to represent, every stratum counting the same."""
        counts = [
            count_magnitudes(self.rows[torch.from_numpy(self.strata == stratum)]).cpu().numpy()
            for stratum in np.unique(self.strata)
        ]
        return clip.range_of(even_mixture(np.stack(counts)), float(self.largest.max()))


@dataclass(frozen=True, slots=True)
class Smoothing:
    """The smoothing of one norm.

    Attributes:
        strength: The chosen one; None is no smoothing.
        vector: s, one positive number for each channel.
        error: Square error of the products with it, relative to the exact products.
        plain_error: The same without smoothing.
    """

    strength: float | None
    vector: tuple[float, ...]
    error: float
    plain_error: float


def search_all(
    model: Transformer,
    sites: Sequence[Site],
    statistics: Statistics,
    samples: Samples,
    clip: Clip,
    done: Callable[[], object],
) -> dict[str, Smoothing]:
    """Searches the smoothing of every norm: norm -> smoothing; `done` is called after each."""
    filled = np.flatnonzero(samples.filled)
    found = {}
    for site in sites:
        if site.smoothed:
            weights = [_weight(model, name) for name in site.linears]
            rows = samples.rows[site.name][torch.from_numpy(filled).to(weights[0].device)]
            largest = statistics.sites[site.name].channel_max.amax(dim=0)
            inputs = Inputs(rows, samples.strata[filled], largest)
            found[site.name] = search(inputs, weights, clip)
            done()
    return found


def search(inputs: Inputs, weights: Sequence[torch.Tensor], clip: Clip) -> Smoothing:
    """Searches the strength with the least error.

    Args:
        inputs: What the products read.
        weights: Their weights, each [out, C].
        clip: How the range of the smoothed input will be chosen.
    """
    joined = torch.cat([weight.float() for weight in weights])
    exact, largest = inputs.rows @ joined.T, inputs.largest
    plain = torch.ones_like(largest)
    tried: list[tuple[float | None, torch.Tensor]] = [(None, plain)]
    tried += [(strength, vector_of(largest, joined, strength)) for strength in STRENGTHS]
    errors = [_error(inputs.smoothed(v), joined * v, clip, exact) for _, v in tried]
    best = min(range(len(tried)), key=errors.__getitem__)
    strength, vector = tried[best]
    return Smoothing(strength, tuple(vector.tolist()), errors[best], errors[0])


def vector_of(largest: torch.Tensor, weights: torch.Tensor, strength: float) -> torch.Tensor:
    """Returns s of the module's formula, scaled to a geometric mean of 1.

    The scale is free, it goes through both ranges; a mean of 1 keeps weights where they are.

    Args:
        largest: float32 [C] largest magnitude of each channel.
        weights: float32 [out, C].
        strength: 0 evens out the weights, 1 the activations.
    """
    active, columns = _bounded(largest), _bounded(weights.abs().amax(dim=0))
    logarithms = strength * active.log() - (1 - strength) * columns.log()
    return (logarithms - logarithms.mean()).exp()


def fold(model: Transformer, vectors: Mapping[str, Sequence[float]], sites: Sequence[Site]) -> None:
    """Divides norms and multiplies the weights behind them, in place; the network stays the same.

    Args:
        model: The network.
        vectors: Norm -> s.
        sites: Sites of the network.
    """
    for site in sites:
        if site.name in vectors:
            norm = model.get_parameter(f"{site.name}.weight")
            vector = torch.tensor(vectors[site.name], device=norm.device)
            norm.copy_(norm / vector)
            for name in site.linears:
                weight = _weight(model, name)
                weight.copy_(weight * vector)


def round_trip(values: torch.Tensor, ranges: torch.Tensor) -> torch.Tensor:
    """Returns values as symmetric INT8 gives them back.

    Args:
        values: float32 tensor.
        ranges: Largest magnitudes to represent, broadcast against `values`; 0 gives zeros.
    """
    steps = ranges / LEVELS
    integers = (values / steps).round().clamp(-LEVELS, LEVELS)
    return torch.where(steps > 0, integers * steps, 0.0)


def _error(inputs: Inputs, weights: torch.Tensor, clip: Clip, exact: torch.Tensor) -> float:
    """Square error of smoothed products in INT8, relative to the exact ones [n, out]."""
    activations = round_trip(inputs.rows, inputs.rows.new_tensor(inputs.range_of(clip)))
    rough = activations @ round_trip(weights, weights.abs().amax(dim=1, keepdim=True)).T
    return float((rough - exact).square().sum() / exact.square().sum().clamp_min(1e-30))


def _bounded(magnitudes: torch.Tensor) -> torch.Tensor:
    largest = magnitudes.max()
    floor = torch.where(largest > 0, largest * _LEAST_SHARE, torch.ones_like(largest))
    return magnitudes.clamp_min(floor)


def _weight(model: Transformer, linear: str) -> torch.Tensor:
    return model.get_parameter(f"{linear}.weight")
