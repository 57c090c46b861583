"""A few rows of every stratum, drawn evenly from all that pass, for the search of strengths.

Every row that passes draws a number, and a stratum keeps the rows with the smallest ones. The
numbers depend on seed, prompt and step alone, so an interrupted run that is taken up keeps the rows
that an uninterrupted one keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """Which rows of one step are kept, and where.

    Attributes:
        rows: int64 [n] rows of the step.
        slots: int64 [n] where they go, ``stratum * size + place``.
        keys: float64 [n] the numbers they have drawn.
    """

    rows: NDArray[np.int64]
    slots: NDArray[np.int64]
    keys: NDArray[np.float64]


class Samples:
    """The rows kept so far, at every site that can be smoothed.

    Args:
        widths: Site -> channels.
        strata: Number of strata.
        size: Rows kept of each stratum.
        device: Where the rows are kept.

    Attributes:
        keys: float64 [T * size] the numbers drawn, infinite where a slot is empty.
        rows: Site -> float32 [T * size, channels].
    """

    def __init__(
        self, widths: Iterable[tuple[str, int]], strata: int, size: int, device: torch.device
    ) -> None:
        self._size = size
        self.keys = np.full(strata * size, np.inf)
        self.rows = {
            name: torch.zeros(strata * size, width, device=device) for name, width in widths
        }

    @property
    def filled(self) -> NDArray[np.bool_]:
        """Which slots hold a row, bool [T * size]."""
        filled: NDArray[np.bool_] = np.isfinite(self.keys)
        return filled

    @property
    def strata(self) -> NDArray[np.int64]:
        """Stratum of every slot, int64 [T * size]."""
        strata: NDArray[np.int64] = np.arange(len(self.keys)) // self._size
        return strata

    def sound(self) -> bool:
        """Tells whether numbers and rows are such as can be drawn and kept."""
        drawn = self.keys[self.filled]
        return bool(
            not np.isnan(self.keys).any()
            and ((drawn >= 0) & (drawn < 1)).all()
            and all(bool(torch.isfinite(rows).all()) for rows in self.rows.values())
        )

    def draw(self, strata: NDArray[np.int64], seed: tuple[int, ...]) -> Draw:
        """Decides which rows of a step are kept; nothing changes until they are.

        Args:
            strata: int64 [S], stratum of every row.
            seed: What the numbers depend on.
        """
        numbers = np.random.default_rng(seed).random(len(strata))
        rows = [np.zeros(0, dtype=np.int64)]
        slots = list(rows)
        for stratum in np.unique(strata).tolist():
            candidates = np.flatnonzero(strata == stratum)
            begin = stratum * self._size
            kept = self.keys[begin : begin + self._size]
            order = np.argsort(np.concatenate([kept, numbers[candidates]]), kind="stable")
            best = order[: self._size]
            new = candidates[best[best >= self._size] - self._size]
            free = np.setdiff1d(np.arange(self._size), best)[: len(new)]
            rows.append(new)
            slots.append(begin + free)
        chosen = np.concatenate(rows)
        return Draw(chosen, np.concatenate(slots), numbers[chosen])

    def keep(self, draw: Draw, values: Mapping[str, torch.Tensor]) -> None:
        """Puts the rows of a step in their place.

        Args:
            draw: What was decided.
            values: Site -> float32 [n, channels], the chosen rows alone.
        """
        self.keys[draw.slots] = draw.keys
        for site, rows in values.items():
            slots = torch.from_numpy(draw.slots).to(rows.device)
            self.rows[site][slots] = rows
