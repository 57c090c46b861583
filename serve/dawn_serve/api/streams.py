"""Responses that go on, and what ends them: their end, or that nobody listens any more."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dawn_serve.errors import GoneError

T = TypeVar("T")

SSE: Final = "text/event-stream; charset=utf-8"
NDJSON: Final = "application/x-ndjson"
_HEADERS: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}


def compact(document: Any) -> str:
    """Returns JSON on one line."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def sse(document: Any, event: str | None = None) -> bytes:
    """Returns a server-sent event.

    Args:
        document: Its data; a text is sent as it is.
        event: Its name, if it has one.
    """
    data = document if isinstance(document, str) else compact(document)
    head = "" if event is None else f"event: {event}\n"
    return f"{head}data: {data}\n\n".encode()


def line(document: Mapping[str, Any]) -> bytes:
    """Returns a line of JSON Lines."""
    return f"{compact(document)}\n".encode()


async def disconnected(receive: Receive) -> None:
    """Waits until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_gone(receive: Receive, work: Awaitable[T]) -> T:
    """Returns what some work returns; gives it up when the client goes.

    Raises:
        GoneError: It went.
    """
    task, watcher = asyncio.ensure_future(work), asyncio.ensure_future(disconnected(receive))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise GoneError("the client has gone")
        return task.result()
    finally:
        await _ended(task, watcher)


async def _ended(*tasks: "asyncio.Future[Any]") -> None:
    """Cancels tasks and waits for their end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Stream(Response):
    """A response whose body comes in chunks.

    Args:
        chunks: They; errors inside are theirs to tell.
        media_type: Of the body.
        over: Called once at the end, with whether the client was there to see it.
    """

    def __init__(
        self, chunks: AsyncIterator[bytes], media_type: str, over: Callable[[bool], None]
    ) -> None:
        self.status_code, self.media_type, self.background = 200, media_type, None
        self._chunks, self._over = chunks, over
        self.init_headers(_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        seen = False
        try:
            await unless_gone(receive, self._send(send))
            seen = True
        except (GoneError, OSError):
            pass
        finally:
            self._over(seen)

    async def _send(self, send: Send) -> None:
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        async for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
