"""What is counted of the activations: magnitudes by stratum and channel, at every site."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dawn_calibration.errors import ActivationError
from dawn_calibration.ranges.clipping import Clip
from dawn_calibration.ranges.histogram import BINS, OFFSET, SHIFT, even_mixture
from dawn_calibration.ranges.sites import Site


@dataclass(frozen=True, slots=True, eq=False)
class SiteStatistics:
    """Magnitudes of one site; T strata, C channels.

    Attributes:
        counts: int64 [T, BINS], on the device of the model.
        channel_max: float32 [T, C], likewise; 0 where nothing was seen.
    """

    counts: torch.Tensor
    channel_max: torch.Tensor

    @classmethod
    def empty(cls, strata: int, width: int, device: torch.device) -> SiteStatistics:
        """Nothing seen yet."""
        return cls(
            torch.zeros(strata, BINS, dtype=torch.int64, device=device),
            torch.zeros(strata, width, device=device),
        )

    def add(self, values: torch.Tensor, strata: NDArray[np.int64], name: str) -> None:
        """Counts the rows of one step.

        Args:
            values: float32 [S, C].
            strata: int64 [S].
            name: Of the site, for the message.

        Raises:
            ActivationError: A value is NaN or infinite.
        """
        for stratum in np.unique(strata).tolist():
            rows = values[torch.from_numpy(strata == stratum).to(values.device)]
            largest = rows.abs().amax(dim=0)
            if not bool(torch.isfinite(largest).all()):
                raise ActivationError(_not_finite(name, rows))
            self.counts[stratum] += count_magnitudes(rows)
            torch.maximum(self.channel_max[stratum], largest, out=self.channel_max[stratum])

    def stratum_max(self) -> NDArray[np.float32]:
        """Largest magnitude of every stratum, float32 [T]."""
        largest: NDArray[np.float32] = self.channel_max.amax(dim=1).cpu().numpy()
        return largest

    def range_of(self, clip: Clip) -> float:
        """The largest magnitude to represent, every stratum counting the same."""
        shares = even_mixture(self.counts.cpu().numpy())
        return clip.range_of(shares, float(self.stratum_max().max()))


class Statistics:
    """Magnitudes of all sites.

    Args:
        sites: What is recorded.
        strata: Number of strata T.
        device: Where the counting happens.

    Attributes:
        sites: Site -> its magnitudes.
        rows: int64 [T] rows seen.
    """

    def __init__(self, sites: Iterable[Site], strata: int, device: torch.device) -> None:
        self.sites: Mapping[str, SiteStatistics] = {
            site.name: SiteStatistics.empty(strata, site.width, device) for site in sites
        }
        self.rows = np.zeros(strata, dtype=np.int64)


def count_magnitudes(values: torch.Tensor) -> torch.Tensor:
    """Counts magnitudes by bin; see `dawn_calibration.ranges.histogram`.

    Args:
        values: float32 of any shape, finite.

    Returns:
        int64 [BINS], on the device of `values`; the sum is the number of values.
    """
    bits = values.abs().contiguous().view(torch.int32) >> SHIFT
    return torch.bincount((bits - OFFSET).clamp_(0, BINS - 1).flatten(), minlength=BINS)


def _not_finite(name: str, rows: torch.Tensor) -> str:
    what = "NaN" if bool(rows.isnan().any()) else "infinity"
    return (
        f"the input of {name} holds {what}; nothing was written: check the checkpoint with "
        "dawn-export --verify, or use --dtype float32"
    )
