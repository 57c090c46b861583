"""The three forms that a response may have, the same for every API: events, a stream, or whole."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from starlette.responses import JSONResponse, Response

from dawn_serve.api.answers import Answers, Wanted, begin
from dawn_serve.api.asked import Asked
from dawn_serve.api.events import RECORDED, event_stream
from dawn_serve.api.streams import SSE, Stream
from dawn_serve.jobs import Outcome


async def respond(
    asked: Asked,
    wanted: Wanted,
    whole: Callable[[Answers, list[Outcome]], dict[str, Any]],
    parts: Callable[[Answers], AsyncIterator[bytes]] | None,
    media: str = SSE,
) -> Response:
    """Takes a request in, and answers as it asks.

    Args:
        asked: The request.
        wanted: What it wants.
        whole: Makes the document of a response from all answers.
        parts: Makes a stream of them; None if none is asked for.
        media: What the stream is.

    Raises:
        Exception: As `begin`, and why there is no answer.
    """
    kind = asked.events
    wanted = replace(wanted, record=kind in RECORDED)
    answers = await asked.unless_gone(begin(asked.service, wanted))
    asked.watch(answers)
    if kind != "0":
        return await event_stream(asked, answers, kind)
    if parts is not None:
        await asked.unless_gone(answers.joined())
        return Stream(parts(answers), media, asked.over)
    return JSONResponse(whole(answers, await asked.unless_gone(answers.all())))
