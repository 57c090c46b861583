"""Windows: which undecided positions are in play, and which positions are looked at at all.

    blocks     fixed blocks, one after the other (semi-autoregressive); the default
    single     the whole answer as one block
    sliding    a window that begins at the first undecided position (DSB, arXiv 2602.05992)
    pruned     fixed blocks with most of what follows them out of sight (Streaming-dLLM,
               arXiv 2601.17917), and perhaps most of what precedes them

A row is finished as soon as an end token stands in its decided prefix, so with every window that
works from the left an answer ends with the block that holds its end token.

To add one: a frozen dataclass decorated by `@WINDOWS.register`; its fields are its options.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import BoolArray
from dawn_runtime.decoding.row import RowState
from dawn_runtime.option_fields import Options, option
from dawn_runtime.registry import Registry


class Window(Options, ABC):
    """Says where a row may commit.

    Attributes:
        name: Name in the registry.
    """

    __slots__ = ()

    kind: ClassVar[str] = "window"
    name: ClassVar[str]

    @abstractmethod
    def span(self, row: RowState) -> tuple[int, int]:
        """Returns the first position of the window and the one after its last.

        Called for unfinished rows only; the span must hold an undecided position.
        """

    def visible(self, row: RowState) -> BoolArray:
        """Tells which positions the row looks at, [L]; the window is among them.

        So is the position before it, which predicts its first in some models. What is not visible
        is not fed, and no key of it is looked at.
        """
        return np.ones(row.length, dtype=bool)


WINDOWS: Registry[Window] = Registry("window", Window)
"""All windows by name."""


@WINDOWS.register
@dataclass(frozen=True, slots=True)
class Blocks(Window):
    """Fixed blocks, decided one after the other (semi-autoregressive).

    Attributes:
        block_length: Tokens in a block, >= 1; the last block may be shorter.

    Raises:
        OptionError: The length is not a positive integer.
    """

    name: ClassVar[str] = "blocks"

    block_length: int = option(32, 1, None, "tokens in a block")

    def span(self, row: RowState) -> tuple[int, int]:
        """Returns the block of the first undecided position."""
        begin = row.settled - (row.settled - row.start) % self.block_length
        return begin, min(begin + self.block_length, row.length)


@WINDOWS.register
@dataclass(frozen=True, slots=True)
class Single(Window):
    """The whole answer as one block."""

    name: ClassVar[str] = "single"

    def span(self, row: RowState) -> tuple[int, int]:
        """Returns everything after the prompt."""
        return row.start, row.length


@WINDOWS.register
@dataclass(frozen=True, slots=True)
class Sliding(Window):
    """A window that moves on with its first undecided position, token by token.

    A hard position near the beginning then holds up fewer easy ones behind it. Cached keys are
    refreshed when the window has left that of the last full pass behind, about every
    `block_length` tokens; what is decided in between is fed until then.

    Attributes:
        block_length: Tokens in the window, >= 1.
        reach: `fixed`: the window ends `block_length` after its beginning. `growing`: it ends
            `block_length` after as many positions as are decided, wherever those are, so it
            grows while its first position stays undecided (the greedy form of the publication).

    Raises:
        OptionError: An option has a bad value.
    """

    name: ClassVar[str] = "sliding"

    block_length: int = option(32, 1, None, "tokens in the window")
    reach: str = option("growing", help="where it ends", choices=("fixed", "growing"))

    def span(self, row: RowState) -> tuple[int, int]:
        """Returns a window from the first undecided position on."""
        begin = row.settled
        if self.reach == "fixed":
            return begin, min(begin + self.block_length, row.length)
        return begin, min(row.start + row.known + self.block_length, row.length)


@WINDOWS.register
@dataclass(frozen=True, slots=True)
class Pruned(Blocks):
    """Fixed blocks that see only the nearest undecided positions behind them, and the last one.

    What lies far behind a block is nothing but masks. Their number hardly matters, so they are
    neither fed nor looked at, apart from the last position, which tells how long the answer may
    become. Given tokens behind a block stay in sight wherever they are.

    What lies far before it may go out of sight too, but for the beginning, which most attention is
    paid to (StreamingLLM, arXiv 2309.17453). Then a step costs the same however long the text is.

    Attributes:
        block_length: Tokens in a block, >= 1; the last block may be shorter.
        near: Undecided positions in sight behind the block, >= 0.
        recent: Tokens in sight before the block; 0 is all.
        sinks: Tokens of the beginning in sight whatever `recent` says, >= 0.

    Raises:
        OptionError: An option has a bad value.
    """

    name: ClassVar[str] = "pruned"

    near: int = option(96, 0, None, "undecided positions in sight behind the block")
    recent: int = option(0, 0, None, "tokens in sight before the block; 0 is all")
    sinks: int = option(64, 0, None, "tokens of the beginning in sight whatever recent says")

    def visible(self, row: RowState) -> BoolArray:
        """Leaves out undecided positions far behind the block, and perhaps text far before it."""
        begin, end = self.span(row)
        visible = ~row.masked
        visible[:end] = True
        if self.recent:
            visible[self.sinks : max(begin - self.recent, self.sinks)] = False
        visible[end + np.flatnonzero(row.masked[end:])[: self.near]] = True
        visible[-1] = True
        return visible
