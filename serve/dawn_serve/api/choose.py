"""`/v1/choose`: typed answers, the most probable of those that are given."""

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from starlette.responses import JSONResponse, Response

from dawn_runtime import PromptError
from dawn_runtime.arrays import IntArray
from dawn_runtime.request import Request
from dawn_serve.api.answers import Answers, Wanted, check_count, check_length, read_prompt
from dawn_serve.api.asked import Asked
from dawn_serve.api.problems import ProblemError
from dawn_serve.api.service import Service
from dawn_serve.jobs import Outcome
from dawn_serve.scoring import Frame, end_of, ids_of
from dawn_serve.wire.choose import ChooseRequest


async def choose(asked: Asked) -> Response:
    """Gives the most probable of given answers, and how probable each is."""
    body = asked.read(ChooseRequest)
    body.check_together()
    asked.service.check_model(body.model)
    return await asked.unless_gone(_respond(asked, body))


async def _respond(asked: Asked, body: ChooseRequest) -> Response:
    head = {
        "id": f"choose-{asked.number}",
        "created": asked.created,
        "model": asked.service.name,
    }
    before = await _reading(asked, _before, asked.service, body)
    if body.choices is not None:
        scored = await _scores(asked, body, before, body.choices, body.suffix)
        best = _best(scored)
        chosen = {"object": "choice", "index": best, "text": body.choices[best]}
        return JSONResponse({**head, **chosen, "choices": scored, "usage": _usage(scored)})
    assert body.frame is not None
    return JSONResponse({**head, **await _framed(asked, body, before, body.frame)})


async def _framed(
    asked: Asked, body: ChooseRequest, before: IntArray, frame: Mapping[str, list[Any]]
) -> dict[str, Any]:
    """Decides field by field, each with a look at those before it."""
    text, found, told, every = "{", dict[str, Any](), dict[str, Any](), list[dict[str, Any]]()
    for number, (name, values) in enumerate(frame.items()):
        text += f"{json.dumps(name, ensure_ascii=False)}: "
        spelled = [json.dumps(value, ensure_ascii=False) for value in values]
        inside = np.concatenate([before, ids_of(asked.service.decoder, text)])
        last = number == len(frame) - 1
        scored = await _scores(asked, body, inside, spelled, "}" if last else ", ")
        best = _best(scored)
        found[name], told[name] = values[best], scored
        text += spelled[best] + ("}" if last else ", ")
        every += scored
    return {"object": "frame", "value": found, "text": text, "fields": told, "usage": _usage(every)}


async def _scores(
    asked: Asked,
    body: ChooseRequest,
    before: IntArray,
    choices: Sequence[str],
    suffix: str | None,
) -> list[dict[str, Any]]:
    """Scores some choices in one batch."""
    service = asked.service
    check_count(service, len(choices), "choices")
    requests = await _reading(asked, _requests, asked, body, before, choices, suffix)
    answers = Answers(service, requests, Wanted((), {}))
    asked.watch(answers)
    return _told(choices, await answers.all(), answers.given[0], body.by)


async def _reading(asked: Asked, work: Any, *arguments: Any) -> Any:
    """Reads texts beside the event loop."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(asked.service.readers, work, *arguments)


def _before(service: Service, body: ChooseRequest) -> IntArray:
    prefix = ids_of(service.decoder, body.prefix)
    if body.before is None:
        return prefix
    return np.concatenate([read_prompt(service, body.before), prefix])


def _requests(
    asked: Asked, body: ChooseRequest, before: IntArray, choices: Sequence[str], suffix: str | None
) -> list[Request]:
    decoder = asked.service.decoder
    if not len(before):
        raise PromptError("the prompt is empty; give at least one token")
    check_length(asked.service, len(before))
    frame = Frame(before, end_of(decoder) if suffix is None else ids_of(decoder, suffix))
    return [frame.request(decoder, choice, body.passes) for choice in choices]


def _told(
    choices: Sequence[str], outcomes: Sequence[Outcome], given: int, by: str
) -> list[dict[str, Any]]:
    """What is said of each choice."""
    scored = []
    for number, (text, outcome) in enumerate(zip(choices, outcomes, strict=True)):
        if outcome.finish != "length":
            raise ProblemError(503, f"scoring ended early ({outcome.finish}); try again")
        logs = [math.log(max(one.confidence, 1e-300)) for one in outcome.result.trace]
        scored.append(
            {
                "index": number,
                "text": text,
                "tokens": len(logs),
                "logprob": min(0.0, sum(logs)),
                "mean_logprob": min(0.0, sum(logs) / len(logs)),
                "forwards": outcome.result.forwards,
                "given_tokens": given,
            }
        )
    compared = np.array([one["mean_logprob" if by == "mean" else "logprob"] for one in scored])
    shares = np.exp(compared - compared.max())
    for one, share in zip(scored, shares / shares.sum(), strict=True):
        one["probability"] = float(share)
    return scored


def _best(scored: Sequence[Mapping[str, Any]]) -> int:
    """Number of the most probable choice, the first of equals."""
    return max(range(len(scored)), key=lambda number: scored[number]["probability"])


def _usage(scored: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Counts tokens: those that were given to each choice, and those of the choices."""
    given, read = sum(one.pop("given_tokens") for one in scored), sum(o["tokens"] for o in scored)
    return {"prompt_tokens": given, "completion_tokens": read, "total_tokens": given + read}
