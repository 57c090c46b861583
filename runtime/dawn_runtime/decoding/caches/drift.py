"""Refresh by evidence: keys are computed anew when the attention that they draw has moved.

After Elastic-Cache (arXiv 2510.14973, 2025). That looks at the attention of the known token which
draws most, layer by layer, beside that of the step before; the layers behind the first whose cosine
falls below gamma = 0.9 are computed anew (LLaDA, windows of 16 masks). Here it is the artifact's
evidence, a mean over heads and a few layers, and one decision for the whole model, taken after a
step for the next one:

    p_r           what open position r paid to each kept key when it was first seen since the last
                  full pass
    q_r           what it pays now
    similarity    the cosine of the sums of p_r and of q_r over all r that were seen before

Below `gamma` the next step is a full pass. Only keys count whose token is the one that stood there
in the full pass. Positions are compared with themselves, so a window that gets smaller, or moves
on, is no drift.
"""

from dataclasses import dataclass

import numpy as np

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray, inverse
from dawn_runtime.policies import RowView


@dataclass(frozen=True, slots=True, eq=False)
class Drift:
    """What has been seen of a row since its last full pass.

    Attributes:
        masked: bool [L] what was open in the full pass.
        positions: int64 [n] open positions, in the order in which they were first seen.
        shares: float32 [n, L] what each then paid to every position, 0 where it did not look.
        similarity: Of the last step; 1 in a full pass, and where there is nothing to compare.
    """

    masked: BoolArray
    positions: IntArray
    shares: FloatArray
    similarity: float = 1.0

    @classmethod
    def begin(cls, view: RowView) -> "Drift":
        """Returns what a full pass shows.

        Args:
            view: The row after its run; its evidence has the candidates.
        """
        return cls(view.masked, view.candidates, _shares(view))

    def after(self, view: RowView, kept: IntArray) -> "Drift":
        """Returns the same after a cached step.

        Args:
            view: The row after its run; its evidence has the candidates.
            kept: int64 [N] positions looked at through kept keys.
        """
        now = _shares(view)
        known = inverse(self.positions, len(view.masked))[view.candidates]
        old = kept[self.masked[kept] == view.masked[kept]]
        before = self.shares[known[known >= 0]][:, old].sum(axis=0)
        found = cosine(before, now[known >= 0][:, old].sum(axis=0))
        still = view.masked[self.positions]
        return Drift(
            self.masked,
            np.concatenate([self.positions[still], view.candidates[known < 0]]),
            np.concatenate([self.shares[still], now[known < 0]]),
            found,
        )


def cosine(left: FloatArray, right: FloatArray) -> float:
    """Returns the cosine of two vectors; 1 if one of them is nothing.

    Args:
        left: float32 [n].
        right: float32 [n].
    """
    size = float(np.sqrt(np.dot(left, left)) * np.sqrt(np.dot(right, right)))
    return float(np.dot(left, right)) / size if size else 1.0


def _shares(view: RowView) -> FloatArray:
    """What each candidate pays to every position, [n, L]."""
    rows = inverse(view.attention_rows, len(view.masked))[view.candidates]
    shares = np.zeros((len(rows), len(view.masked)), dtype=np.float32)
    shares[:, view.attention_keys] = view.attention[rows]
    return shares
