"""Answers while they are decoded: their text, or every decision, as it is made."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Generic, TypeVar

from dawn_runtime.decoding import Commit
from dawn_runtime.generation import Generation
from dawn_runtime.results import Result
from dawn_runtime.tokenizer import TextPieces, Tokenizer

T = TypeVar("T")


class Stream(Iterator[T], Generic[T]):
    """Decodes one answer while it is iterated; then take `result`.

    Args:
        generation: A generation of a single row.
    """

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._items = self._run()
        self._result: Result | None = None

    def __next__(self) -> T:
        return next(self._items)

    @property
    def result(self) -> Result:
        """The whole answer; runs what has not been iterated yet."""
        if self._result is None:
            self._result = self._generation.results()[0]
        return self._result

    def cancel(self) -> None:
        """Ends the iteration before the next step; `result` is then what is there.

        May be called from another thread.
        """
        self._generation.cancel()

    @abstractmethod
    def _run(self) -> Iterator[T]:
        """Yields the items."""


class TextStream(Stream[str]):
    """Text of one answer as it becomes certain.

    Pieces hold whole characters, and put together they are the text of the result.

    Args:
        generation: A generation of a single row.
        tokenizer: Tokenizer of the same artifact.
    """

    def __init__(self, generation: Generation, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        super().__init__(generation)

    def _run(self) -> Iterator[str]:
        pieces = TextPieces(self._tokenizer.decode)
        for (row,) in self._generation.steps():
            if piece := pieces.push(row.answer, final=row.finished):
                yield piece


class CommitStream(Stream[tuple[Commit, ...]]):
    """The decisions of one answer, those of a step together, in the order of the trace."""

    def _run(self) -> Iterator[tuple[Commit, ...]]:
        for (row,) in self._generation.steps():
            yield row.last_commits()
