"""`/v1/completions` and `/v1/chat/completions`, as OpenAI's clients expect them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from dawn_runtime import PromptError
from dawn_runtime.tokenizer import Tokenizer
from dawn_serve.api.answers import Answers, Wanted
from dawn_serve.api.asked import Asked
from dawn_serve.api.problems import OPENAI, problem_of
from dawn_serve.api.respond import respond
from dawn_serve.api.streams import sse
from dawn_serve.api.told import how, logprob, token_bytes, token_text, usage
from dawn_serve.jobs import Outcome, Update
from dawn_serve.wire.kinds import RequestError
from dawn_serve.wire.openai import ChatRequest, Common, CompletionRequest

_END: Final = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class _Form:
    """What tells chat completions from completions.

    Attributes:
        whole: `object` of a response.
        part: `object` of a chunk of a stream.
        prefix: Of its id.
        is_chat: Whether texts are messages.
        logprobs: Whether probabilities are given.
        best: Whether the best token of each position is listed beside.
        tokenizer: Of the artifact.
    """

    whole: str
    part: str
    prefix: str
    is_chat: bool
    logprobs: bool
    best: bool
    tokenizer: Tokenizer

    def choice(self, number: int, outcome: Outcome) -> dict[str, Any]:
        """One of the answers of a response."""
        text = outcome.text or ""
        said: dict[str, Any] = {"text": text}
        if self.is_chat:
            said = {"message": {"role": "assistant", "content": text, "refusal": None}}
        sure = self._sure(outcome.tokens, outcome.confidences, 0)
        return {"index": number, **said, "logprobs": sure, "finish_reason": outcome.finish}

    def piece(self, number: int, update: Update, offset: int) -> dict[str, Any]:
        """What a step adds to an answer."""
        said: dict[str, Any] = {"text": update.text}
        if self.is_chat:
            said = {"delta": {"content": update.text}}
        sure = self._sure(update.tokens, update.confidences, offset)
        return {"index": number, **said, "logprobs": sure, "finish_reason": None}

    def last(self, number: int, outcome: Outcome) -> dict[str, Any]:
        """How an answer ends."""
        said: dict[str, Any] = {"delta": {}} if self.is_chat else {"text": ""}
        return {"index": number, **said, "logprobs": None, "finish_reason": outcome.finish}

    def _sure(
        self, tokens: Sequence[int], confidences: Sequence[float | None], offset: int
    ) -> dict[str, Any] | None:
        """Tokens and their logarithmic probabilities."""
        if not self.logprobs:
            return None
        texts = [token_text(self.tokenizer, token) for token in tokens]
        logs = [logprob(one) for one in confidences]
        if self.is_chat:
            items = [
                {"token": text, "logprob": log, "bytes": token_bytes(text)}
                for text, log in zip(texts, logs, strict=True)
            ]
            best = [{"top_logprobs": [one] if self.best else []} for one in items]
            return {"content": [a | b for a, b in zip(items, best, strict=True)], "refusal": None}
        places = [offset + sum(map(len, texts[:n])) for n in range(len(texts))]
        tops = [{text: log} for text, log in zip(texts, logs, strict=True)] if self.best else None
        return {
            "tokens": texts,
            "token_logprobs": logs,
            "top_logprobs": tops,
            "text_offset": places,
        }


async def completions(asked: Asked) -> Response:
    """Goes on with texts."""
    body = asked.read(CompletionRequest)
    form = _Form(
        "text_completion",
        "text_completion",
        "cmpl-",
        is_chat=False,
        logprobs=body.logprobs is not None,
        best=bool(body.logprobs),
        tokenizer=_tokenizer(asked),
    )
    return await _answer(asked, body, form, body.prompt, body.max_tokens)


async def chat_completions(asked: Asked) -> Response:
    """Answers in a conversation."""
    body = asked.read(ChatRequest)
    if body.top_logprobs is not None and not body.logprobs:
        raise RequestError("top_logprobs needs logprobs to be true", "top_logprobs")
    form = _Form(
        "chat.completion",
        "chat.completion.chunk",
        "chatcmpl-",
        is_chat=True,
        logprobs=body.logprobs,
        best=bool(body.top_logprobs),
        tokenizer=_tokenizer(asked),
    )
    return await _answer(asked, body, form, (body.messages,), body.most_tokens)


def _tokenizer(asked: Asked) -> Tokenizer:
    tokenizer = asked.service.decoder.tokenizer
    if tokenizer is None:
        raise PromptError("this model has no tokenizer, so it writes no text; use /v1/fill")
    return tokenizer


async def _answer(
    asked: Asked, body: Common, form: _Form, prompts: Sequence[Any], most: int | None
) -> Response:
    asked.service.check_model(body.model)
    if form.best and body.given().get("temperature"):
        raise RequestError(
            "the best token is known only where none is drawn; leave temperature at 0", "logprobs"
        )
    wanted = Wanted(tuple(prompts), body.given(), most, n=body.n, stops=body.stops)

    def whole(answers: Answers, outcomes: list[Outcome]) -> dict[str, Any]:
        return {
            **_head(asked, form.whole, form),
            "choices": [form.choice(n, outcome) for n, outcome in enumerate(outcomes)],
            "usage": usage(_prompt_tokens(answers, wanted), outcomes),
            "dawn": [how(outcome) for outcome in outcomes],
        }

    def parts(answers: Answers) -> AsyncIterator[bytes]:
        return _chunks(asked, body, form, answers, wanted)

    return await respond(asked, wanted, whole, parts if body.stream else None)


def _head(asked: Asked, kind: str, form: _Form) -> dict[str, Any]:
    return {
        "id": form.prefix + asked.number,
        "object": kind,
        "created": asked.created,
        "model": asked.service.name,
        "system_fingerprint": None,
    }


def _prompt_tokens(answers: Answers, wanted: Wanted) -> int:
    """Tokens of all prompts, each counted once however many answers it has."""
    return sum(answers.given[:: wanted.n])


async def _chunks(
    asked: Asked, body: Common, form: _Form, answers: Answers, wanted: Wanted
) -> AsyncIterator[bytes]:
    """The stream: a chunk for each step that made text final, one at the end of each answer."""
    head = _head(asked, form.part, form)
    usual: dict[str, Any] = {"usage": None} if body.wants_usage else {}
    offsets, outcomes = [0] * len(answers.jobs), list[Outcome]()
    if form.is_chat:
        for number in range(len(answers.jobs)):
            delta = {"role": "assistant", "content": "", "refusal": None}
            first = {"index": number, "delta": delta, "logprobs": None, "finish_reason": None}
            yield sse({**head, "choices": [first], **usual})
    try:
        async for number, item in answers:
            if isinstance(item, Outcome):
                outcomes.append(item)
                last = form.last(number, item)
                yield sse({**head, "choices": [last], **usual, "dawn": how(item)})
            elif item.text or (item.tokens and form.logprobs):
                yield sse({**head, "choices": [form.piece(number, item, offsets[number])], **usual})
                offsets[number] += len(item.text)
    except Exception as error:
        yield sse(OPENAI.error(asked.noted(problem_of(error), error)))
        return
    if body.wants_usage:
        counts = usage(_prompt_tokens(answers, wanted), outcomes)
        yield sse({**head, "choices": [], "usage": counts})
    yield _END
