"""Predictions in hand: what a scheme that drafts knows of the open positions before it asks."""

from dataclasses import dataclass

import numpy as np

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray
from dawn_runtime.decoding.ask import Decision


@dataclass(frozen=True, slots=True, eq=False)
class Hand:
    """Predictions of the open positions of a block, best first.

    Attributes:
        positions: int64 [n].
        tokens: int64 [n].
        confidence: float32 [n], descending; the lowest position first where equal.
        stale: Whether something was committed since they were made, so that the present state has
            to run too.
    """

    positions: IntArray
    tokens: IntArray
    confidence: FloatArray
    stale: bool = False

    def __len__(self) -> int:
        return len(self.positions)

    def some(self, which: slice | BoolArray) -> "Hand":
        """Returns some of them, in the same order."""
        return Hand(self.positions[which], self.tokens[which], self.confidence[which])

    def and_then(self, other: "Hand") -> "Hand":
        """Returns these and others behind them."""
        return Hand(
            np.concatenate([self.positions, other.positions]),
            np.concatenate([self.tokens, other.tokens]),
            np.concatenate([self.confidence, other.confidence]),
        )

    def committed(
        self,
        *,
        keep: tuple[int, ...] = (),
        layout: IntArray | None = None,
        memory: "Hand | None" = None,
    ) -> Decision:
        """Returns the decision to commit all of these; arguments as in `Decision`."""
        left = memory if memory is not None and len(memory) else None
        return Decision(
            self.positions, self.tokens, self.confidence, keep=keep, layout=layout, memory=left
        )
