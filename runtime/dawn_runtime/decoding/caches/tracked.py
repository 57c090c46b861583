"""Which kept keys are worth computing anew in every step: those that are looked at most.

After Flash-Cache (arXiv 2609.26796, 2026), whose steps feed a window of masks, what the last step
decided and a fixed number of the known tokens that draw most attention from the window: 64 of each
for LLaDA-1.5, in blocks of 16. Here attention is the artifact's evidence, a mean over heads and a
few layers, of the step before.
"""

import numpy as np

from dawn_runtime.arrays import BoolArray, IntArray, inverse
from dawn_runtime.policies import RowView


def most_attended(view: RowView, eligible: BoolArray, count: int) -> IntArray:
    """Returns the positions that candidates look at most, the lowest first on ties; int64 [n].

    Args:
        view: A row after a run of the engine; its evidence has the candidates.
        eligible: bool [L] which positions are asked for.
        count: How many at most.
    """
    rows = inverse(view.attention_rows, len(view.masked))[view.candidates]
    drawn = np.zeros(len(view.masked), dtype=np.float32)
    drawn[view.attention_keys] = view.attention[rows].sum(axis=0)
    positions = eligible.nonzero()[0]
    order = np.argsort(-drawn[positions], kind="stable")
    most: IntArray = positions[order[:count]]
    return most
