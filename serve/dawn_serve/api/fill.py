"""`/v1/fill`: templates, any mixture of what is given and what is to be decided."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from starlette.responses import Response

from dawn_runtime import Filling
from dawn_serve.api.answers import Answers, Wanted
from dawn_serve.api.asked import Asked
from dawn_serve.api.problems import OPENAI, problem_of
from dawn_serve.api.respond import respond
from dawn_serve.api.streams import sse
from dawn_serve.api.told import how, logprob
from dawn_serve.jobs import Outcome
from dawn_serve.wire.fill import FillRequest


async def fill(asked: Asked) -> Response:
    """Decides the holes of a template with a look at both sides."""
    body = asked.read(FillRequest)
    asked.service.check_model(body.model)
    wanted = Wanted((Filling(body.template, body.before),), body.given())
    return await respond(
        asked,
        wanted,
        lambda answers, outcomes: _whole(asked, answers, *outcomes),
        partial(_chunks, asked) if body.stream else None,
    )


def _whole(asked: Asked, answers: Answers, outcome: Outcome) -> dict[str, Any]:
    """The template filled in, and each hole by itself."""
    sure = outcome.confidences
    holes = [
        {
            "begin": hole.begin,
            "text": hole.written,
            "tokens": hole.tokens.tolist(),
            "logprobs": [logprob(one) for one in sure[hole.begin : hole.begin + len(hole.tokens)]],
        }
        for hole in outcome.result.holes
    ]
    decided, given = sum(one is not None for one in sure), answers.given[0]
    counts = {"prompt_tokens": given, "completion_tokens": decided}
    return {
        "id": f"fill-{asked.number}",
        "object": "fill",
        "created": asked.created,
        "model": asked.service.name,
        "text": outcome.text,
        "tokens": list(outcome.tokens),
        "holes": holes,
        "finish_reason": outcome.finish,
        "usage": {**counts, "total_tokens": given + decided},
        "dawn": how(outcome),
    }


async def _chunks(asked: Asked, answers: Answers) -> AsyncIterator[bytes]:
    """Text from the left as it becomes final, then all of it."""
    try:
        async for _, item in answers:
            if isinstance(item, Outcome):
                yield sse(_whole(asked, answers, item))
                yield sse("[DONE]")
            elif item.text:
                yield sse({"object": "fill.chunk", "text": item.text})
    except Exception as error:
        yield sse(OPENAI.error(asked.noted(problem_of(error), error)))
