"""Where blocks of a block-causal model lie, and what a step of one feeds; see `block_causal`."""

from dataclasses import dataclass

import numpy as np

from dawn_runtime.arrays import BoolArray, IntArray
from dawn_runtime.decoding.ask import nothing
from dawn_runtime.decoding.caches import FullPass
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes.plan import RowPlan, seen
from dawn_runtime.policies import Needs


@dataclass(frozen=True, slots=True)
class BlockGrid:
    """Where blocks begin.

    Attributes:
        length: Positions of a block, >= 1.
        offset: How many positions of the first block lie before position 0, below `length`.
    """

    length: int
    offset: int = 0

    @classmethod
    def of(cls, length: int, origin: str, start: int) -> "BlockGrid":
        """Returns the grid of a row.

        Args:
            length: Positions of a block.
            origin: `start`: a block begins at position 0; `prompt`: one begins where that ends.
            start: First position of the answer.
        """
        return cls(length, -start % length if origin == "prompt" else 0)

    def number(self, positions: IntArray) -> IntArray:
        """Returns the number of the block of each position."""
        return (positions + self.offset) // self.length

    def span(self, position: int) -> tuple[int, int]:
        """Returns the first position of the block that holds one, and the one after its last."""
        begin = (position + self.offset) // self.length * self.length - self.offset
        return max(begin, 0), begin + self.length

    def rounded(self, length: int) -> int:
        """Returns the length of a row with its last block made whole."""
        return self.span(length - 1)[1]


@dataclass(frozen=True, slots=True)
class BlockStep:
    """What decides what a step feeds, besides the row.

    Attributes:
        grid: Where blocks begin.
        sub_length: Positions of a sub-block.
        carry: Whether the first token of a block is decided before the block begins.
        causal: Whether finished text is looked at token by token and not block by block; its rows
            then predict the next token, whatever the masks of a block predict.
        keeps: Which keys are kept: `nothing`, those that are `final`, or those of the `block` under
            way too.
        needs: What the policy reads.
        last: The last pass that kept the keys of a block under way; None if the row keeps none.
    """

    grid: BlockGrid
    sub_length: int
    carry: bool
    causal: bool
    keeps: str
    needs: Needs
    last: FullPass | None

    def plan(self, row: RowState) -> RowPlan:
        """Plans the next step of an unfinished row."""
        begin, end = self.grid.span(row.settled)
        carried = self.carry and begin == row.settled and begin > 0
        end = begin if carried else min(end, row.length)
        span = (begin, begin + 1) if carried else self._sub_block(row, begin, end)
        final = self._final(row)
        fed = np.zeros(row.length, dtype=bool)
        if self._continues(begin) and not row.masked[span[0]]:
            fed[slice(*span)] = True
        else:
            fed[:end] = ~final[:end]
            if row.shift and begin and row.masked[begin] and not carried:
                fed[begin - 1] = True
        stored = fed & ~final
        stored[{"nothing": 0, "final": begin, "block": end}[self.keeps] :] = False
        shift = 1 if carried else row.shift
        return self._planned(row, (begin, end), span, fed, np.flatnonzero(stored), shift)

    def _sub_block(self, row: RowState, begin: int, end: int) -> tuple[int, int]:
        """The sub-block of the first undecided position; sub-blocks count from the grid."""
        first = self.grid.span(row.settled)[1] - self.grid.length  # before 0 in a short first block
        start = row.settled - (row.settled - first) % self.sub_length
        return max(start, begin), min(start + self.sub_length, end)

    def _final(self, row: RowState) -> BoolArray:
        """Which positions have a key that nothing changes any more, [L]."""
        final = np.zeros(row.length, dtype=bool)
        if row.kept is not None:
            final[row.kept.positions] = True
            final[row.length if self.last is None else self.last.window[0] :] = False
        return final

    def _continues(self, begin: int) -> bool:
        """Whether the keys of the block that begins there were kept in an earlier step of it."""
        return self.last is not None and self.last.window[0] == begin

    def _planned(
        self,
        row: RowState,
        block: tuple[int, int],
        span: tuple[int, int],
        fed: BoolArray,
        stored: IntArray,
        shift: int,
    ) -> RowPlan:
        needs, positions = self.needs, np.flatnonzero(fed)
        candidates = span[0] + np.flatnonzero(row.masked[slice(*span)])
        read = candidates[fed[candidates]]  # of a token that is carried no row is fed
        attended = nothing() if row.kept is None else row.kept.positions[~fed[row.kept.positions]]
        attended = attended[attended < max(block[1], span[0])]
        wanted = np.zeros(row.length, dtype=bool)
        wanted[candidates] = True
        wanted[block[0] : span[1]] |= needs.known_predictions
        wanted[span[1] : block[1]] |= needs.later_predictions & row.masked[span[1] : block[1]]
        every = positions[positions >= block[0]]
        return RowPlan(
            window=span,
            candidates=candidates,
            fed=positions,
            predicted=np.flatnonzero(wanted & seen(fed, shift)),
            evidence={"none": nothing(), "candidates": read, "all": every}[needs.evidence],
            attended=attended,
            slots=attended if row.kept is None else row.kept.slots(attended),
            stored=stored,
            layout=None,
            sees=self._sees(positions, np.concatenate([attended, positions]), block[0]),
            shift=shift,
        )

    def _sees(self, rows: IntArray, columns: IntArray, begin: int) -> BoolArray | None:
        """Who looks at whom, bool [S, N+S]; None if all look at all.

        Args:
            rows: int64 [S] positions fed.
            columns: int64 [N+S] positions looked at.
            begin: First position of the block under way; what is before it is text.
        """
        sees: BoolArray = self.grid.number(columns)[None] <= self.grid.number(rows)[:, None]
        if self.causal:
            sees &= (columns[None] <= rows[:, None]) | (rows >= begin)[:, None]
        return None if sees.all() else sees
