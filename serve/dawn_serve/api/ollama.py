"""`/api/chat` and what Ollama's clients ask before it."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timezone
from typing import Any

from starlette.responses import JSONResponse, Response

from dawn_runtime import __version__
from dawn_serve.api.answers import Answers, Wanted
from dawn_serve.api.asked import Asked
from dawn_serve.api.problems import OLLAMA, problem_of
from dawn_serve.api.respond import respond
from dawn_serve.api.streams import NDJSON, line
from dawn_serve.api.told import how
from dawn_serve.jobs import Outcome
from dawn_serve.talk.parts import Part, Said, Thought, calls_of, text_of
from dawn_serve.talk.splitter import Splitter
from dawn_serve.wire.ollama import OllamaChatRequest

_NANO = 1e9


async def chat(asked: Asked) -> Response:
    """Answers in a conversation."""
    body = asked.read(OllamaChatRequest)
    asked.service.check_model(_untagged(body.model))
    said, most = body.said, body.options.num_predict
    wanted = Wanted(
        (said,),
        {**body.dawn.given(), **body.options.given()},
        most if most is not None and most > 0 else None,
        as_room_is=True,
        stops=body.options.stops,
    )

    def whole(answers: Answers, outcomes: list[Outcome]) -> dict[str, Any]:
        (outcome,) = outcomes
        parts = asked.service.knowledge.splitter(said).push(outcome.text or "", final=True)
        return _line(body.model, parts) | _last(answers, outcome)

    def parts(answers: Answers) -> AsyncIterator[bytes]:
        return _lines(asked, answers, body.model, asked.service.knowledge.splitter(said))

    return await respond(asked, wanted, whole, parts if body.stream else None, NDJSON)


async def tags(asked: Asked) -> Response:
    """Lists the model."""
    manifest = asked.service.decoder.manifest
    details = {
        "format": "onnx",
        "family": manifest.family,
        "families": [manifest.family],
        "quantization_level": manifest.precision,
    }
    begun = _clock(asked.service.begun)
    listed = [
        {"name": name, "model": name, "modified_at": begun, "size": 0, "digest": ""}
        | {"details": details}
        for name in asked.service.names
    ]
    return JSONResponse({"models": listed})


async def version(asked: Asked) -> Response:
    """Gives the version of this server."""
    return JSONResponse({"version": __version__})


def _untagged(name: str) -> str:
    """Returns a name without the tag that Ollama's clients add to one that has none."""
    return name.removesuffix(":latest")


def _clock(seconds: float | None = None) -> str:
    now = datetime.now(timezone.utc)
    moment = now if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat().replace("+00:00", "Z")


def _line(model: str, parts: Sequence[Part]) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant", "content": text_of(parts, Said)}
    if thought := text_of(parts, Thought):
        said["thinking"] = thought
    if calls := calls_of(parts):
        functions = [{"name": one.name, "arguments": one.arguments} for one in calls]
        said["tool_calls"] = [{"function": function} for function in functions]
    return {"model": model, "created_at": _clock(), "message": said, "done": False}


def _last(answers: Answers, outcome: Outcome) -> dict[str, Any]:
    """What the end of an answer adds; times in nanoseconds."""
    result = outcome.result
    return {
        "done": True,
        "done_reason": outcome.finish,
        "total_duration": int((outcome.queued + result.seconds) * _NANO),
        "load_duration": 0,
        "prompt_eval_count": answers.given[0],
        "prompt_eval_duration": 0,
        "eval_count": len(outcome.tokens),
        "eval_duration": int(result.seconds * _NANO),
        "dawn": how(outcome),
    }


async def _lines(
    asked: Asked, answers: Answers, model: str, splitter: Splitter
) -> AsyncIterator[bytes]:
    try:
        async for _, item in answers:
            if isinstance(item, Outcome):
                rest = splitter.push("", final=True)
                yield line(_line(model, rest) | _last(answers, item))
            elif parts := splitter.push(item.text):
                yield line(_line(model, parts))
    except Exception as error:
        yield line(OLLAMA.error(asked.noted(problem_of(error), error)))
