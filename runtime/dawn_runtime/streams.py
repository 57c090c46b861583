"""Answers while they are decoded: their text, or every decision, as it is made."""

import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Generic, TypeVar

from dawn_runtime.decoding import Commit
from dawn_runtime.errors import DawnError
from dawn_runtime.generation import Generation
from dawn_runtime.results import Result
from dawn_runtime.tokenizer import TextPieces, Tokenizer

T = TypeVar("T")


class Stream(Iterator[T], Generic[T]):
    """Decodes one answer while it is iterated; then take `result`.

        with decoder.stream("What is 3 + 4?") as stream:
            for piece in stream:
                print(piece, end="")

    What the answer needs on the way, keys and values or memory of a GPU, is freed when it is done,
    when the stream is closed, or when nobody refers to it any more, whichever comes first.

    Threads may share a stream: each item goes to one of them, and `cancel` waits for nobody.

    Args:
        generation: A generation of a single row.
        items: What to give out of it.
    """

    def __init__(self, generation: Generation, items: Iterator[T]) -> None:
        # Neither refers to this object: with a cycle only the garbage collector would free them.
        self._generation: Generation | None = generation
        self._items = items
        self._lock = threading.RLock()
        self._result: Result | None = None

    def __next__(self) -> T:
        with self._lock:
            try:
                return next(self._items)
            except StopIteration:
                if self._generation is not None:
                    self._finish()
                raise

    def __enter__(self) -> "Stream[T]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def result(self) -> Result:
        """The whole answer; runs what has not been iterated yet.

        Raises:
            DawnError: The stream was closed before there was one, because decoding had failed.
            EngineError: The engine failed.
        """
        with self._lock:
            if self._result is None:
                return self._finish()
            return self._result

    def cancel(self) -> None:
        """Ends the iteration before the next step; `result` is then what is there.

        May be called from another thread.
        """
        if (generation := self._generation) is not None:
            generation.cancel()

    def close(self) -> None:
        """Cancels, keeps `result` as it is then, and frees everything else.

        Waits for a step that another thread is taking. Closing twice is allowed.

        Raises:
            EngineError: What was decided cannot be fetched from the engine any more.
        """
        self.cancel()
        with self._lock:
            try:
                if self._generation is not None:
                    self._finish()
            finally:
                self._free()

    def _finish(self) -> Result:
        """Takes the result, for which nothing else is needed any more."""
        if self._generation is None:
            raise DawnError("the stream was closed after an error, so it has no result")
        self._result = self._generation.results()[0]
        self._free()
        return self._result

    def _free(self) -> None:
        """Gives up the generation, and the items, which hold it too."""
        self._items, self._generation = iter(()), None


class TextStream(Stream[str]):
    """Text of one answer as it becomes certain.

    Pieces hold whole characters, and put together they are the text of the result.

    Args:
        generation: A generation of a single row.
        tokenizer: Tokenizer of the same artifact.
    """

    def __init__(self, generation: Generation, tokenizer: Tokenizer) -> None:
        super().__init__(generation, _pieces(generation, tokenizer))


class CommitStream(Stream[tuple[Commit, ...]]):
    """The decisions of one answer, those of a step together, in the order of the trace.

    Args:
        generation: A generation of a single row.
    """

    def __init__(self, generation: Generation) -> None:
        super().__init__(generation, _decisions(generation))


def _pieces(generation: Generation, tokenizer: Tokenizer) -> Iterator[str]:
    pieces = TextPieces(tokenizer.decode)
    for (row,) in generation.steps():
        if piece := pieces.push(row.answer, final=row.finished):
            yield piece


def _decisions(generation: Generation) -> Iterator[tuple[Commit, ...]]:
    for (row,) in generation.steps():
        yield row.last_commits()
