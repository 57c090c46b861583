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
class Seen:
    """Magnitudes of one site in one step, before they are counted; lists of equal length.

    Attributes:
        strata: Those whose rows were seen.
        counts: int64 [BINS] for each of them.
        largest: float32 [C] for each of them.
    """

    strata: list[int]
    counts: list[torch.Tensor]
    largest: list[torch.Tensor]

    @classmethod
    def of(cls, values: torch.Tensor, strata: NDArray[np.int64], name: str) -> Seen:
        """Looks at the rows of a step.

        Args:
            values: float32 [S, C].
            strata: int64 [S].
            name: Of the site, for the message.

        Raises:
            ActivationError: A value is NaN or infinite.
        """
        found = cls(np.unique(strata).tolist(), [], [])
        for stratum in found.strata:
            rows = values[torch.from_numpy(strata == stratum).to(values.device)]
            largest = rows.abs().amax(dim=0)
            if not bool(torch.isfinite(largest).all()):
                raise ActivationError(_not_finite(name, rows))
            found.counts.append(count_magnitudes(rows))
            found.largest.append(largest)
        return found


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

    def add(self, seen: Seen) -> None:
        """Counts the rows of one step."""
        for stratum, counts, largest in zip(seen.strata, seen.counts, seen.largest, strict=True):
            self.counts[stratum] += counts
            torch.maximum(self.channel_max[stratum], largest, out=self.channel_max[stratum])

    def sound(self, rows: torch.Tensor) -> bool:
        """Tells whether the counts are those of int64 [T] rows, and magnitudes are such."""
        counts, largest = self.counts.cpu(), self.channel_max.cpu()
        return bool(
            (counts >= 0).all()
            and (counts.sum(dim=1) == rows * largest.shape[1]).all()
            and (torch.isfinite(largest) & (largest >= 0)).all()
        )

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

    def sound(self) -> bool:
        """Tells whether every value of every row that was seen is counted, once."""
        rows = torch.from_numpy(self.rows)
        return bool((rows >= 0).all()) and all(site.sound(rows) for site in self.sites.values())


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
