"""Windows: which undecided positions are in play.

To add one: a frozen dataclass decorated by `@WINDOWS.register`; its fields are its options.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from dawn_runtime._checks import check_integer
from dawn_runtime.decoding.state import RowState
from dawn_runtime.registry import Registry


class Window(ABC):
    """Says where a row may commit.

    Attributes:
        name: Name in the registry.
    """

    __slots__ = ()

    name: ClassVar[str]

    @abstractmethod
    def span(self, row: RowState) -> tuple[int, int]:
        """Returns the first position of the window and the one after its last.

        Called for unfinished rows only; the span must hold an undecided position.
        """


WINDOWS: Registry[Window] = Registry("window")
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

    block_length: int = 32

    def __post_init__(self) -> None:
        value = check_integer("window 'blocks'", "block_length", self.block_length, minimum=1)
        object.__setattr__(self, "block_length", value)

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
