"""`/v1/completions` and `/v1/chat/completions`, as OpenAI's clients expect them."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from starlette.responses import Response

from dawn_runtime import PromptError
from dawn_runtime.tokenizer import Tokenizer
from dawn_serve.api.answers import Answers, Wanted
from dawn_serve.api.asked import Asked
from dawn_serve.api.problems import OPENAI, problem_of
from dawn_serve.api.respond import respond
from dawn_serve.api.streams import compact, sse
from dawn_serve.api.told import how, logprob, token_bytes, token_text, usage
from dawn_serve.jobs import Outcome, Update
from dawn_serve.talk.parts import Call, Part, Said, Thought, calls_of, text_of
from dawn_serve.talk.splitter import Splitter
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
        split: Returns what takes an answer apart.
    """

    whole: str
    part: str
    prefix: str
    is_chat: bool
    logprobs: bool
    best: bool
    tokenizer: Tokenizer
    split: Callable[[], Splitter] = Splitter

    def choice(self, number: int, outcome: Outcome, names: str) -> dict[str, Any]:
        """One of the answers of a response.

        Args:
            number: Of the answer.
            outcome: How it ended.
            names: What ids of its calls begin with.
        """
        parts = self.split().push(outcome.text or "", final=True)
        text, calls = text_of(parts, Said), calls_of(parts)
        said: dict[str, Any] = {"text": text}
        if self.is_chat:
            content = None if calls and not text else text
            said = {"message": {"role": "assistant", "content": content, "refusal": None}}
            if thought := text_of(parts, Thought):
                said["message"]["reasoning_content"] = thought
            if calls:
                told = [_call(f"{names}_{n}", call) for n, call in enumerate(calls)]
                said["message"]["tool_calls"] = told
        sure = self._sure(outcome.tokens, outcome.confidences, 0)
        reason = _finish(outcome, bool(calls))
        return {"index": number, **said, "logprobs": sure, "finish_reason": reason}

    def piece(self, number: int, said: dict[str, Any], sure: Any = None) -> dict[str, Any]:
        """What a step adds to an answer.

        Args:
            number: Of the answer.
            said: What is added.
            sure: Probabilities of its tokens.
        """
        told = {"delta": said} if self.is_chat else said
        return {"index": number, **told, "logprobs": sure, "finish_reason": None}

    def last(self, number: int, outcome: Outcome, calls: int) -> dict[str, Any]:
        """How an answer ends that has so many calls."""
        said: dict[str, Any] = {"delta": {}} if self.is_chat else {"text": ""}
        reason = _finish(outcome, calls > 0)
        return {"index": number, **said, "logprobs": None, "finish_reason": reason}

    def sure(self, update: Update, offset: int) -> dict[str, Any] | None:
        """Probabilities of the tokens of a step, whose text begins at a place of its answer."""
        return self._sure(update.tokens, update.confidences, offset)

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
        split=partial(asked.service.knowledge.splitter, body.said),
    )
    return await _answer(asked, body, form, (body.said,), body.most_tokens)


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
            "choices": [
                form.choice(n, outcome, _names(asked, n)) for n, outcome in enumerate(outcomes)
            ],
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


class _Writer:
    """The chunks of one answer.

    Args:
        form: Of the stream.
        number: Of the answer.
        names: What ids of its calls begin with.
    """

    def __init__(self, form: _Form, number: int, names: str) -> None:
        self._form, self._number, self._names = form, number, names
        self._splitter = form.split()
        self._calls = 0
        self._offset = 0

    def opening(self) -> dict[str, Any]:
        """The chunk before all others."""
        delta = {"role": "assistant", "content": "", "refusal": None}
        return self._form.piece(self._number, delta)

    def step(self, update: Update) -> Iterator[dict[str, Any]]:
        """What a step adds."""
        form = self._form
        said = [self._said(part) for part in self._splitter.push(update.text)]
        sure = form.sure(update, self._offset)
        self._offset += len(update.text)
        if not said and form.logprobs and update.tokens:
            said = [self._said(Said(""))]
        for number, one in enumerate(said):
            yield form.piece(self._number, one, None if number else sure)

    def end(self, outcome: Outcome) -> Iterator[dict[str, Any]]:
        """What was held back, and how the answer ends."""
        for part in self._splitter.push("", final=True):
            yield self._form.piece(self._number, self._said(part))
        yield self._form.last(self._number, outcome, self._calls)

    def _said(self, part: Part) -> dict[str, Any]:
        """A part of an answer, as a chunk has it."""
        if isinstance(part, Call):
            told = {"index": self._calls, **_call(f"{self._names}_{self._calls}", part)}
            self._calls += 1
            return {"tool_calls": [told]}
        if isinstance(part, Thought):
            return {"reasoning_content": part.text}
        return {"content" if self._form.is_chat else "text": part.text}


def _names(asked: Asked, number: int) -> str:
    """What ids of the calls of an answer begin with."""
    return f"call_{asked.number}_{number}"


def _call(name: str, call: Call) -> dict[str, Any]:
    """A call under a name."""
    function = {"name": call.name, "arguments": compact(call.arguments)}
    return {"id": name, "type": "function", "function": function}


def _finish(outcome: Outcome, has_calls: bool) -> str:
    """Returns why an answer ends; one that ends by itself with calls waits for their results."""
    return "tool_calls" if has_calls and outcome.finish == "stop" else outcome.finish


async def _chunks(
    asked: Asked, body: Common, form: _Form, answers: Answers, wanted: Wanted
) -> AsyncIterator[bytes]:
    """The stream: chunks for each step that made text final, one at the end of each answer."""
    head = _head(asked, form.part, form)
    usual: dict[str, Any] = {"usage": None} if body.wants_usage else {}
    outcomes = list[Outcome]()
    writers = [_Writer(form, n, _names(asked, n)) for n in range(len(answers.jobs))]
    for writer in writers if form.is_chat else ():
        yield sse({**head, "choices": [writer.opening()], **usual})
    try:
        async for number, item in answers:
            if not isinstance(item, Outcome):
                for choice in writers[number].step(item):
                    yield sse({**head, "choices": [choice], **usual})
                continue
            outcomes.append(item)
            *rest, last = writers[number].end(item)
            for choice in rest:
                yield sse({**head, "choices": [choice], **usual})
            yield sse({**head, "choices": [last], **usual, "dawn": how(item)})
    except Exception as error:
        yield sse(OPENAI.error(asked.noted(problem_of(error), error)))
        return
    if body.wants_usage:
        counts = usage(_prompt_tokens(answers, wanted), outcomes)
        yield sse({**head, "choices": [], "usage": counts})
    yield _END
