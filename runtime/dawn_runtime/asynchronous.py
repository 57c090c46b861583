"""A decoder for asyncio: answers are decoded in threads, and tasks that are cancelled end them.

    async with AsyncDecoder(Decoder.open("build/tiny-dream")) as decoder:
        result = await decoder.generate("What is 3 + 4?", max_new_tokens=64)
        async with asyncio.timeout(5):
            async for piece in decoder.stream("Write a story."):
                print(piece, end="")

A task that is cancelled, by hand or by a timeout of asyncio, takes its decoding with it: the run
under way is given up where the engine can do so, as on the CPU, and otherwise it is the last one.
The task ends when the thread has let go, so nothing goes on behind its back. To get what there is
at some time instead of an error, give the setting `timeout`.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

from dawn_runtime.arrays import IntArray
from dawn_runtime.cancellation import Cancellation
from dawn_runtime.checks import check_integer, shown
from dawn_runtime.decoder import CLOSED, Decoder
from dawn_runtime.decoding import Commit
from dawn_runtime.errors import EngineError, OptionError
from dawn_runtime.given import Message
from dawn_runtime.prompts import Filling, Prompt, Template
from dawn_runtime.results import Result
from dawn_runtime.settings import Settings
from dawn_runtime.streams import Stream
from dawn_runtime.unpacking import Unpack

R = TypeVar("R")
T = TypeVar("T")

_END: Final = object()


class AsyncDecoder:
    """The calls of a `Decoder` as coroutines; see the module.

    Args:
        decoder: Decodes; closed by `close` and at the end of ``async with``.
        workers: Answers (or batches of one call) that are decoded at a time, >= 1; others wait for
            their turn. On a CPU they share its threads, so more of them are not faster together.

    Attributes:
        decoder: As given, for what takes no time, such as `Decoder.manifest`.

    Raises:
        OptionError: An argument is of another type or out of range.
    """

    def __init__(self, decoder: Decoder, *, workers: int = 4) -> None:
        if not isinstance(decoder, Decoder):
            raise OptionError(f"decoder is {shown(decoder)}; expected an opened Decoder")
        count = check_integer("decoder", "workers", workers, minimum=1)
        self.decoder = decoder
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="dawn-decoder")

    async def generate(
        self,
        prompt: Prompt | Filling | None = None,
        *,
        messages: Iterable[Message] | None = None,
        input_ids: Iterable[int] | IntArray | None = None,
        **settings: Unpack[Settings],
    ) -> Result:
        """Decodes one answer; arguments and errors as for `Decoder.generate`."""
        call = functools.partial(
            self.decoder.generate, prompt, messages=messages, input_ids=input_ids, **settings
        )
        return await self._cancellable(call)

    async def generate_batch(
        self, prompts: Iterable[Prompt | Filling], **settings: Unpack[Settings]
    ) -> list[Result]:
        """Decodes several answers together, as `Decoder.generate_batch`."""
        call = functools.partial(self.decoder.generate_batch, prompts, **settings)
        return await self._cancellable(call)

    async def fill(
        self,
        template: Template | None = None,
        *,
        prompt: Prompt | None = None,
        input_ids: Iterable[int] | IntArray | None = None,
        **settings: Unpack[Settings],
    ) -> Result:
        """Decides the open positions between given ones, as `Decoder.fill`."""
        call = functools.partial(
            self.decoder.fill, template, prompt=prompt, input_ids=input_ids, **settings
        )
        return await self._cancellable(call)

    def stream(
        self,
        prompt: Prompt | Filling | None = None,
        *,
        messages: Iterable[Message] | None = None,
        input_ids: Iterable[int] | IntArray | None = None,
        **settings: Unpack[Settings],
    ) -> "AsyncStream[str]":
        """Decodes one answer and gives out its text as it becomes certain.

        Arguments as for `Decoder.stream`; the prompt is read, and errors come, with the first item.
        """
        begin = functools.partial(
            self.decoder.stream, prompt, messages=messages, input_ids=input_ids, **settings
        )
        return AsyncStream(self._pool, begin)

    def watch(
        self,
        prompt: Prompt | Filling | None = None,
        *,
        messages: Iterable[Message] | None = None,
        input_ids: Iterable[int] | IntArray | None = None,
        **settings: Unpack[Settings],
    ) -> "AsyncStream[tuple[Commit, ...]]":
        """Decodes one answer and gives out the decisions of every step, as `Decoder.watch`."""
        begin = functools.partial(
            self.decoder.watch, prompt, messages=messages, input_ids=input_ids, **settings
        )
        return AsyncStream(self._pool, begin)

    async def warm_up(self, *, prompt_tokens: int = 32, **settings: Unpack[Settings]) -> float:
        """Takes two steps of an answer that nobody sees, as `Decoder.warm_up`."""
        call = functools.partial(self.decoder.warm_up, prompt_tokens=prompt_tokens, **settings)
        return await _in_thread(self._pool, call, _nothing)

    async def _cancellable(self, call: Callable[..., R]) -> R:
        """Awaits a call of the decoder in a thread; it takes what cancels it."""
        cancellation = Cancellation()
        job = functools.partial(call, cancellation=cancellation)
        return await _in_thread(self._pool, job, cancellation.cancel)

    async def close(self) -> None:
        """Closes the decoder, once what is under way has ended; closing twice is allowed."""
        close = functools.partial(self._pool.shutdown, cancel_futures=True)
        await asyncio.get_running_loop().run_in_executor(None, close)
        self.decoder.close()

    async def __aenter__(self) -> "AsyncDecoder":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class AsyncStream(AsyncIterator[T], Generic[T]):
    """A `Stream` of a decoder for ``async for``; made by `AsyncDecoder`.

    One task iterates it. When that task is cancelled, decoding ends, and `result` then is what
    there was.

    Args:
        pool: Where steps are taken.
        begin: Reads the prompt and returns the stream.
    """

    def __init__(self, pool: ThreadPoolExecutor, begin: Callable[[], Stream[T]]) -> None:
        self._pool, self._begin = pool, begin
        self._cancellation = Cancellation()
        self._stream: Stream[T] | None = None

    async def __anext__(self) -> T:
        item: Any = await self._do(lambda stream: next(stream, _END))
        if item is _END:
            raise StopAsyncIteration
        found: T = item
        return found

    async def result(self) -> Result:
        """Returns the whole answer; runs what has not been iterated yet.

        Raises:
            DawnError: As for `Stream.result`.
        """
        return await self._do(lambda stream: stream.result)

    def cancel(self) -> None:
        """Ends the iteration; `result` is then what is there."""
        self._cancellation.cancel()

    async def aclose(self) -> None:
        """Cancels and frees what the answer needed; closing twice is allowed."""
        self.cancel()
        if self._stream is not None:
            await self._do(lambda stream: stream.close())

    async def __aenter__(self) -> "AsyncStream[T]":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _do(self, call: Callable[[Stream[T]], R]) -> R:
        return await _in_thread(self._pool, functools.partial(self._now, call), self.cancel)

    def _now(self, call: Callable[[Stream[T]], R]) -> R:
        """Runs in a thread of the pool."""
        if self._stream is None:
            self._stream = self._begin()
        with self._cancellation.ending(self._stream.cancel):
            return call(self._stream)


async def _in_thread(
    pool: ThreadPoolExecutor, call: Callable[[], R], cancel: Callable[[], None]
) -> R:
    """Awaits a call in a thread; if the task is cancelled, the call is too, and its end awaited."""
    try:
        job = pool.submit(call)
    except RuntimeError as error:  # it takes no more, since `close`
        raise EngineError(CLOSED) from error
    waiting = asyncio.wrap_future(job)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        cancel()
        if not job.cancel():  # it has begun
            await asyncio.wait([waiting])
        raise


def _nothing() -> None:
    """What cannot be ended early, because it is short."""
