"""`?events=1`: every decision as it is made, what is final and what is not told apart.

    event: begin    {"index": 0, "prompt_tokens": 12, "positions": [12, 13, 14]}
    event: commit   {"index": 0, "step": 1, "commits": [{"position": 12, "token": 31,
                     "text": "7", "confidence": 0.98}], "revoked": [], "final": "7",
                     "final_tokens": [31]}
    event: end      {"index": 0, "text": ..., "finish_reason": "stop", "usage": ..., "dawn": ...}
    event: error    what the API says of an error

Positions count from the beginning of the prompt. Text in `final` never changes any more; what is
committed may be taken back, and is then in `revoked`.

`?events=why` says more, in the words of a trace (docs/traces.md): `begin` has `given` and `texts`,
each of `commits` a `reason` (and `because`), and `commit` has `window`, `fed`, `held`, `waits`,
`sinks`, `confidence`, `texts` of tokens that were not told before, and `seconds` so far.

`?events=graph` says all of this, and `edges`: [position, other that it depends on, how much], of
what was undecided in the window, the strongest first and at most `policies.explanation.MOST_EDGES`;
`edge_count` is how many there are. `edges` is null where the rule has no graph.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

from starlette.responses import Response

from dawn_runtime import Commit
from dawn_runtime.decoding import StepRecord
from dawn_runtime.policies import Edges
from dawn_runtime.tokenizer import Tokenizer
from dawn_runtime.traces import StepTeller
from dawn_serve.api.answers import Answers
from dawn_serve.api.asked import Asked, EventKind
from dawn_serve.api.problems import OPENAI, problem_of
from dawn_serve.api.streams import SSE, Stream, sse
from dawn_serve.api.told import how, token_text, usage
from dawn_serve.jobs import Outcome, Update

RECORDED: Final = ("why", "graph")
"""Kinds of events for which decoding has to say why."""


async def event_stream(asked: Asked, answers: Answers, kind: EventKind) -> Response:
    """Returns the stream, once one of the answers is being decoded.

    Args:
        asked: The request.
        answers: To it; recorded if the kind is one of `RECORDED`.
        kind: What is told.
    """
    await asked.unless_gone(answers.joined())
    return Stream(_events(asked, answers, kind), SSE, asked.over)


async def _events(asked: Asked, answers: Answers, kind: EventKind) -> AsyncIterator[bytes]:
    tokenizer = asked.service.decoder.tokenizer
    reasons = [_Reasons(tokenizer, graph=kind == "graph") for _ in answers.jobs]
    try:
        async for number, item in answers:
            if isinstance(item, Outcome):
                yield sse(_end(number, answers, item), "end")
            elif item.step == 0 and not item.text:
                ids = None if answers.ids is None else answers.ids[number]
                more = {} if ids is None else reasons[number].given(ids)
                yield sse(_begin(number, answers) | more, "begin")
            else:
                yield sse(_step(number, item, tokenizer, reasons[number]), "commit")
    except Exception as error:
        yield sse(OPENAI.error(asked.noted(problem_of(error), error)), "error")


def _begin(number: int, answers: Answers) -> dict[str, Any]:
    prompt, open_ = answers.prompts[number], answers.open[number]
    return {"index": number, "prompt_tokens": prompt, "positions": open_}


def _step(
    number: int, update: Update, tokenizer: Tokenizer | None, reasons: "_Reasons"
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "index": number,
        "step": update.step,
        "commits": [_commit(commit, tokenizer) for commit in update.commits],
        "revoked": list(update.revoked),
        "final": update.text,
        "final_tokens": list(update.tokens),
    }
    return told if update.record is None else reasons.of(told, update, update.record)


def _commit(commit: Commit, tokenizer: Tokenizer | None) -> dict[str, Any]:
    text = None if tokenizer is None else token_text(tokenizer, commit.token)
    return {
        "position": commit.position,
        "token": commit.token,
        "text": text,
        "confidence": commit.confidence,
    }


class _Reasons:
    """What the events of one answer say beyond decisions.

    Args:
        tokenizer: For texts; None leaves them out.
        graph: Whether edges are told.
    """

    def __init__(self, tokenizer: Tokenizer | None, *, graph: bool) -> None:
        self._tokenizer, self._graph = tokenizer, graph
        self._teller = StepTeller()
        self._named: set[int] = set()

    def given(self, ids: list[int | None]) -> dict[str, Any]:
        """What `begin` says beside."""
        return {"given": ids, "texts": self._texts(one for one in ids if one is not None)}

    def of(self, told: dict[str, Any], update: Update, record: StepRecord) -> dict[str, Any]:
        """What `commit` says in all, made of what it says anyway."""
        why = {choice.position: choice for choice in record.commits}
        for commit in told["commits"]:
            choice = why[commit["position"]]
            commit["reason"] = choice.reason
            if choice.because is not None:
                commit["because"] = choice.because
        told |= self._teller.tell(record)
        told["texts"] = self._texts(choice.token for choice in record.commits)
        told["seconds"] = round(update.seconds, 6)
        told["engine_seconds"] = round(update.engine_seconds, 6)
        return told | (_edges(record.edges) if self._graph else {})

    def _texts(self, ids: Iterable[int]) -> dict[str, str]:
        """Text of each id that was not told yet, special tokens by their names."""
        if self._tokenizer is None:
            return {}
        fresh = sorted(set(ids) - self._named)
        self._named.update(fresh)
        return {str(one): self._tokenizer.piece(one) for one in fresh}


def _edges(edges: Edges | None) -> dict[str, Any]:
    if edges is None:
        return {"edges": None, "edge_count": 0}
    pairs = zip(edges.pairs.tolist(), edges.weights.tolist(), strict=True)
    return {
        "edges": [[*pair, round(weight, 4)] for pair, weight in pairs],
        "edge_count": edges.count,
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
