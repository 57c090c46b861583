"""`/v1/messages`, as Anthropic's clients expect it, events in their order.

message_start, content_block_start, content_block_delta ..., content_block_stop,
message_delta (why it ends, how many tokens), message_stop
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.responses import JSONResponse, Response

from dawn_serve.api.answers import Answers, Wanted
from dawn_serve.api.asked import Asked
from dawn_serve.api.problems import ANTHROPIC, problem_of
from dawn_serve.api.respond import respond
from dawn_serve.api.streams import sse
from dawn_serve.api.told import how
from dawn_serve.jobs import Outcome
from dawn_serve.wire.anthropic import CountRequest, MessagesRequest

_REASONS: Final = {"stop": "end_turn", "length": "max_tokens", "timeout": "max_tokens"}
"""Of the reasons that there are here, the one that clients know for an answer that was cut off;
`dawn.finish_reason` says which it was."""


async def messages(asked: Asked) -> Response:
    """Answers in a conversation."""
    body = asked.read(MessagesRequest)
    asked.service.check_model(body.model)
    stops = tuple(body.stop_sequences)
    wanted = Wanted((body.turns,), body.given(), body.max_tokens, as_room_is=True, stops=stops)

    def whole(answers: Answers, outcomes: list[Outcome]) -> dict[str, Any]:
        (outcome,) = outcomes
        message = _message(asked, answers, [{"type": "text", "text": outcome.text or ""}], outcome)
        return {**message, **_ended(answers, outcome, body.max_tokens), "dawn": how(outcome)}

    def parts(answers: Answers) -> AsyncIterator[bytes]:
        return _events(asked, answers, body.max_tokens)

    return await respond(asked, wanted, whole, parts if body.stream else None)


async def count_tokens(asked: Asked) -> Response:
    """Counts the tokens of a conversation."""
    body, service = asked.read(CountRequest), asked.service
    service.check_model(body.model)
    loop = asyncio.get_running_loop()
    reading = loop.run_in_executor(service.readers, service.decoder.encode, body.turns)
    return JSONResponse({"input_tokens": len(await asked.unless_gone(reading))})


def _message(
    asked: Asked, answers: Answers, content: list[Any], outcome: Outcome | None
) -> dict[str, Any]:
    written = 0 if outcome is None else len(outcome.tokens)
    return {
        "id": f"msg_{asked.number}",
        "type": "message",
        "role": "assistant",
        "model": asked.service.name,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": answers.given[0], "output_tokens": written},
    }


def _ended(answers: Answers, outcome: Outcome, most: int) -> dict[str, Any]:
    """Why an answer ends; one for which the context had no more room says so."""
    reason = "stop_sequence" if outcome.stop is not None else _REASONS.get(outcome.finish)
    was_cut = outcome.result.finish_reason == "length" and len(answers.open[0]) < most
    if reason == "max_tokens" and was_cut:
        reason = "model_context_window_exceeded"
    return {"stop_reason": reason or "end_turn", "stop_sequence": outcome.stop}


async def _events(asked: Asked, answers: Answers, most: int) -> AsyncIterator[bytes]:
    def event(kind: str, **fields: Any) -> bytes:
        return sse({"type": kind, **fields}, kind)

    yield event("message_start", message=_message(asked, answers, [], None))
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield event("ping")
    try:
        async for _, item in answers:
            if isinstance(item, Outcome):
                ended, counts = _ended(answers, item, most), {"output_tokens": len(item.tokens)}
                yield event("content_block_stop", index=0)
                yield event("message_delta", delta=ended, usage=counts, dawn=how(item))
                yield event("message_stop")
            elif item.text:
                delta = {"type": "text_delta", "text": item.text}
                yield event("content_block_delta", index=0, delta=delta)
    except Exception as error:
        yield sse(ANTHROPIC.error(asked.noted(problem_of(error), error)), "error")
