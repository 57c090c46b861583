"""What schemes that draft have in common: predictions in hand, and drafts made of them.

A draft is the row with some open positions of its block filled in. With a cache a block opens with
a full pass whose keys are kept (`opening`), and drafts feed what the cache recomputes.

    in hand     position 2 "sat" 0.8, position 1 "cat" 0.6
    drafts      the _  _  at        the _ sat at        the cat sat at
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray
from dawn_runtime.decoding.ask import Answer, Ask, Decision, nothing
from dawn_runtime.decoding.caches import Cache, NoCache
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes.base import Scheme, only_blocks, only_looking_ahead
from dawn_runtime.decoding.schemes.predictions import all_masks, without_mask
from dawn_runtime.decoding.windows import Window
from dawn_runtime.errors import OptionError


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


def in_hand(positions: IntArray, tokens: IntArray, confidence: FloatArray) -> Hand:
    """Returns predictions, best first; arguments as the attributes of `Hand`, in any order."""
    order = np.argsort(-confidence, kind="stable")
    return Hand(positions[order], tokens[order], confidence[order])


class Drafting(Scheme):
    """A scheme that runs drafts of a row side by side, block by block.

    Attributes:
        leads: Whether drafts of a cached step feed the row before the block too, which predicts its
            first position in a model that predicts the next token.
    """

    __slots__ = ()

    leads: ClassVar[bool] = True
    window: Window
    cache: Cache

    def check_together(self) -> None:
        """Refuses windows and caches that drafts cannot be checked with."""
        only_blocks(self.name, self.window)
        only_looking_ahead(f"scheme {self.name!r}", self.cache)
        if self.cache.selects:
            raise OptionError(
                f"scheme {self.name!r}: drafts predict all of a block; use cache 'none', 'prefix' "
                f"or 'dual', got {self.cache.name!r}"
            )
        if getattr(self.cache, "refresh", "block") != "block":
            raise OptionError(
                f"scheme {self.name!r}: a cache is refreshed at each block; got {self.cache}"
            )
        for name, followed in (("feed", "all"), ("head", "all"), ("track", 0)):
            if getattr(self.cache, name, followed) != followed:
                raise OptionError(
                    f"scheme {self.name!r}: drafts feed and predict a block and no more; leave "
                    f"{name} out, got {self.cache}"
                )

    def stuck(self, row: RowState, answers: Sequence[Answer]) -> bool:
        """Tells whether a draft has open positions, and all are predicted to be the mask."""
        return any(
            all_masks(answer.tokens[: len(answer.ask.note)], row.mask_id) for answer in answers
        )

    @property
    def caching(self) -> bool:
        """Whether there is a cache."""
        return not isinstance(self.cache, NoCache)

    def opening(self, row: RowState) -> Ask:
        """Returns a full pass, whose keys are kept if there is a cache.

        Its note, as that of a draft, is the open positions that are predicted, ascending.
        """
        span = self.window.span(row)
        open_ = _open(row.masked, span)
        return Ask(
            tokens=row.ids,
            positions=np.arange(row.length),
            predict=np.maximum(open_ - row.shift, 0),
            store=self.cache.keeps(row, span),
            note=open_,
        )

    def draft(self, row: RowState, filled: Hand) -> Ask:
        """Returns the row with some positions of its block filled in."""
        ids, masked = row.ids.copy(), row.masked.copy()
        ids[filled.positions], masked[filled.positions] = filled.tokens, False
        fed = self.fed(row)
        positions = np.flatnonzero(fed)
        open_ = self._predictable(row, masked)
        return Ask(
            tokens=ids[positions],
            positions=positions,
            kept=nothing() if row.kept is None else np.flatnonzero(~fed[row.kept.positions]),
            predict=np.searchsorted(positions, np.maximum(open_ - row.shift, 0)),
            note=open_,
        )

    def ranked(self, row: RowState, answer: Answer) -> Hand:
        """Returns the predictions of an opening or a draft, best first."""
        return in_hand(answer.ask.note, *self.predicted(row, answer))

    def predicted(self, row: RowState, answer: Answer) -> tuple[IntArray, FloatArray]:
        """Returns the same in order of position: tokens int64 [n], confidences float32 [n]."""
        count = len(answer.ask.note)
        logits = None if answer.logits is None else answer.logits[:count]
        return without_mask(answer.tokens[:count], answer.confidence[:count], logits, row.mask_id)

    def fed(self, row: RowState) -> BoolArray:
        """Returns which positions a draft feeds, [L]."""
        if not self.caching:
            return np.ones(row.length, dtype=bool)
        fed = np.zeros(row.length, dtype=bool)
        begin, end = self.cache.recomputed(row, self.window.span(row))
        fed[max(begin - row.shift, 0) if self.leads else begin : end] = True
        return fed

    def _predictable(self, row: RowState, masked: BoolArray) -> IntArray:
        """Open positions whose predictions decide what follows a draft.

        Without a cache a draft that fills its block says already what the next one begins with.
        """
        open_ = _open(masked, self.window.span(row))
        if open_.size or self.caching or not masked.any():
            return open_
        return _open(masked, self.window.span(row.assumed(masked)))


def _open(masked: BoolArray, span: tuple[int, int]) -> IntArray:
    """Open positions of a window, int64 [n]."""
    return span[0] + np.flatnonzero(masked[span[0] : span[1]])
