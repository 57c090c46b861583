"""`/v1/messages`, as Anthropic's clients expect it, events in their order.

message_start, then of each block, reasoning, text or a call: content_block_start,
content_block_delta ..., content_block_stop; message_delta (why it ends, how many tokens),
message_stop
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final

from starlette.responses import JSONResponse, Response

from dawn_runtime import Conversation
from dawn_serve.api.answers import Answers, Wanted, read_prompt
from dawn_serve.api.asked import Asked
from dawn_serve.api.problems import ANTHROPIC, problem_of
from dawn_serve.api.respond import respond
from dawn_serve.api.streams import compact, sse
from dawn_serve.api.told import how
from dawn_serve.jobs import Outcome
from dawn_serve.talk.parts import Call, Part, Said, Thought, calls_of
from dawn_serve.talk.splitter import Splitter
from dawn_serve.wire.anthropic import CountRequest, MessagesRequest

_REASONS: Final = {"stop": "end_turn", "length": "max_tokens", "timeout": "max_tokens"}
"""Of the reasons that there are here, the one that clients know for an answer that was cut off;
`dawn.finish_reason` says which it was."""


async def messages(asked: Asked) -> Response:
    """Answers in a conversation."""
    body = asked.read(MessagesRequest)
    asked.service.check_model(body.model)
    said, stops = body.said, tuple(body.stop_sequences)
    wanted = Wanted((said,), body.given(), body.max_tokens, as_room_is=True, stops=stops)

    def whole(answers: Answers, outcomes: list[Outcome]) -> dict[str, Any]:
        (outcome,) = outcomes
        parts = asked.service.knowledge.splitter(said).push(outcome.text or "", final=True)
        message = _message(asked, answers, _blocks(asked, parts), outcome)
        has_calls = bool(calls_of(parts))
        ended = _ended(answers, outcome, body.max_tokens, has_calls)
        return {**message, **ended, "dawn": how(outcome)}

    def parts(answers: Answers) -> AsyncIterator[bytes]:
        return _events(asked, answers, said, body.max_tokens)

    return await respond(asked, wanted, whole, parts if body.stream else None)


async def count_tokens(asked: Asked) -> Response:
    """Counts the tokens of a conversation."""
    body, service = asked.read(CountRequest), asked.service
    service.check_model(body.model)
    loop = asyncio.get_running_loop()
    reading = loop.run_in_executor(service.readers, read_prompt, service, body.said)
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


def _ended(answers: Answers, outcome: Outcome, most: int, has_calls: bool) -> dict[str, Any]:
    """Why an answer ends; one for which the context had no more room says so."""
    reason = "stop_sequence" if outcome.stop is not None else _REASONS.get(outcome.finish)
    was_cut = outcome.result.finish_reason == "length" and len(answers.open[0]) < most
    if reason == "max_tokens" and was_cut:
        reason = "model_context_window_exceeded"
    if reason == "end_turn" and has_calls:
        reason = "tool_use"
    return {"stop_reason": reason or "end_turn", "stop_sequence": outcome.stop}


def _blocks(asked: Asked, parts: Sequence[Part]) -> list[dict[str, Any]]:
    """What an answer is made of; one of nothing is an empty text."""
    found: list[dict[str, Any]] = []
    for number, part in enumerate(parts):
        if isinstance(part, Call):
            found.append(_opened(asked, number, part) | {"input": part.arguments})
        elif isinstance(part, Thought):
            found.append(_opened(asked, number, part) | {"thinking": part.text})
        else:
            found.append(_opened(asked, number, part) | {"text": part.text})
    return found or [_opened(asked, 0, Said(""))]


def _opened(asked: Asked, number: int, part: Part) -> dict[str, Any]:
    """The block that a part belongs to, as it begins."""
    if isinstance(part, Call):
        name = f"toolu_{asked.number}_{number}"
        return {"type": "tool_use", "id": name, "name": part.name, "input": {}}
    if isinstance(part, Thought):
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "text", "text": ""}


def _delta(part: Part) -> dict[str, Any]:
    """What a part adds to its block."""
    if isinstance(part, Call):
        return {"type": "input_json_delta", "partial_json": compact(part.arguments)}
    if isinstance(part, Thought):
        return {"type": "thinking_delta", "thinking": part.text}
    return {"type": "text_delta", "text": part.text}


def _event(kind: str, **fields: Any) -> bytes:
    return sse({"type": kind, **fields}, kind)


class _Blocks:
    """The events of the blocks of an answer, one block open at a time.

    Args:
        asked: The request.
        splitter: Takes the answer apart.

    Attributes:
        has_calls: Whether there was a call.
    """

    def __init__(self, asked: Asked, splitter: Splitter) -> None:
        self.has_calls = False
        self._asked, self._splitter = asked, splitter
        self._number = -1
        self._kind: type[Part] | None = None

    def push(self, text: str, *, final: bool = False) -> Iterator[bytes]:
        """Gives the events of a piece of the answer.

        Args:
            text: What follows.
            final: Whether nothing follows it.
        """
        for part in self._splitter.push(text, final=final):
            if type(part) is not self._kind or isinstance(part, Call):
                yield from self._open(part)
            yield _event("content_block_delta", index=self._number, delta=_delta(part))
        if final:
            if self._kind is None:
                yield from self._open(Said(""))
            yield from self._close()

    def _open(self, part: Part) -> Iterator[bytes]:
        """Begins the block of a part behind the one that is open."""
        yield from self._close()
        self._number += 1
        self._kind = type(part)
        self.has_calls = self.has_calls or isinstance(part, Call)
        block = _opened(self._asked, self._number, part)
        yield _event("content_block_start", index=self._number, content_block=block)
        if not self._number:
            yield _event("ping")

    def _close(self) -> Iterator[bytes]:
        if self._kind is Thought:  # nobody has to be shown that it was this server that thought so
            delta = {"type": "signature_delta", "signature": ""}
            yield _event("content_block_delta", index=self._number, delta=delta)
        if self._kind is not None:
            yield _event("content_block_stop", index=self._number)


async def _events(
    asked: Asked, answers: Answers, said: Conversation, most: int
) -> AsyncIterator[bytes]:
    blocks = _Blocks(asked, asked.service.knowledge.splitter(said))
    yield _event("message_start", message=_message(asked, answers, [], None))
    try:
        async for _, item in answers:
            is_end = isinstance(item, Outcome)
            for event in blocks.push("" if isinstance(item, Outcome) else item.text, final=is_end):
                yield event
            if isinstance(item, Outcome):
                ended = _ended(answers, item, most, blocks.has_calls)
                counts = {"output_tokens": len(item.tokens)}
                yield _event("message_delta", delta=ended, usage=counts, dawn=how(item))
                yield _event("message_stop")
    except Exception as error:
        yield sse(ANTHROPIC.error(asked.noted(problem_of(error), error)), "error")
