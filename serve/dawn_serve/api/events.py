"""`?events=1`: every decision as it is made, what is final and what is not told apart.

    event: begin    {"index": 0, "prompt_tokens": 12, "positions": [12, 13, 14]}
    event: commit   {"index": 0, "step": 1, "commits": [{"position": 12, "token": 31,
                     "text": "7", "confidence": 0.98}], "revoked": [], "final": "7",
                     "final_tokens": [31]}
    event: end      {"index": 0, "text": ..., "finish_reason": "stop", "usage": ..., "dawn": ...}
    event: error    what the API says of an error

Positions count from the beginning of the prompt. Text in `final` never changes any more; what is
committed may be taken back, and is then in `revoked`.
"""

from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response

from dawn_runtime import Commit
from dawn_runtime.tokenizer import Tokenizer
from dawn_serve.api.answers import Answers
from dawn_serve.api.asked import Asked
from dawn_serve.api.problems import OPENAI, problem_of
from dawn_serve.api.streams import SSE, Stream, sse
from dawn_serve.api.told import how, token_text, usage
from dawn_serve.jobs import Outcome, Update


async def event_stream(asked: Asked, answers: Answers) -> Response:
    """Returns the stream, once one of the answers is being decoded."""
    await asked.unless_gone(answers.joined())
    return Stream(_events(asked, answers), SSE, asked.over)


async def _events(asked: Asked, answers: Answers) -> AsyncIterator[bytes]:
    tokenizer = asked.service.decoder.tokenizer
    try:
        async for number, item in answers:
            if isinstance(item, Outcome):
                yield sse(_end(number, answers, item), "end")
            elif item.step == 0 and not item.text:
                yield sse(_begin(number, answers), "begin")
            else:
                yield sse(_step(number, item, tokenizer), "commit")
    except Exception as error:
        yield sse(OPENAI.error(asked.noted(problem_of(error), error)), "error")


def _begin(number: int, answers: Answers) -> dict[str, Any]:
    prompt, open_ = answers.prompts[number], answers.open[number]
    return {"index": number, "prompt_tokens": prompt, "positions": open_}


def _step(number: int, update: Update, tokenizer: Tokenizer | None) -> dict[str, Any]:
    return {
        "index": number,
        "step": update.step,
        "commits": [_commit(commit, tokenizer) for commit in update.commits],
        "revoked": list(update.revoked),
        "final": update.text,
        "final_tokens": list(update.tokens),
    }


def _commit(commit: Commit, tokenizer: Tokenizer | None) -> dict[str, Any]:
    text = None if tokenizer is None else token_text(tokenizer, commit.token)
    return {
        "position": commit.position,
        "token": commit.token,
        "text": text,
        "confidence": commit.confidence,
    }


def _end(number: int, answers: Answers, outcome: Outcome) -> dict[str, Any]:
    return {
        "index": number,
        "text": outcome.text,
        "tokens": list(outcome.tokens),
        "finish_reason": outcome.finish,
        "usage": usage(answers.given[number], [outcome]),
        "dawn": how(outcome),
    }
