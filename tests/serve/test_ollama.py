"""`/api/chat` as Ollama's clients use it, and what they ask before."""

import json
from typing import Any

from dawn_runtime import Decoder
from support.serving import Running

CHAT = [{"role": "user", "content": "Sort ascending: 47 61 56 21"}]
SLOW: dict[str, Any] = {"policy": "one-per-step", "block_length": 4}


def lines(body: bytes) -> list[Any]:
    return [json.loads(line) for line in body.splitlines()]


def test_an_answer_streams_as_lines(served: Running, exact: Decoder) -> None:
    body = {"model": "model:latest", "messages": CHAT, "dawn": SLOW, "options": {"num_predict": 16}}
    reply = served.ask("/api/chat", body)
    assert reply.headers["content-type"] == "application/x-ndjson"
    told = lines(reply.body)
    alone = exact.generate(messages=CHAT, max_new_tokens=16, **SLOW)
    assert "".join(one["message"]["content"] for one in told) == alone.text
    assert len(told) > 2
    assert [one["done"] for one in told] == [False] * (len(told) - 1) + [True]
    assert all(one["model"] == "model:latest" for one in told)
    last = told[-1]
    assert last["done_reason"] == "stop"
    assert last["prompt_eval_count"] == alone.prompt_tokens
    assert last["eval_count"] == len(alone.tokens)
    assert last["total_duration"] > 0


def test_an_answer_comes_whole_if_asked_for(served: Running, exact: Decoder) -> None:
    options = {"num_predict": 12, "temperature": 1.2, "seed": 4, "top_p": 0.9, "num_ctx": 4096}
    body = {"model": "model", "messages": CHAT, "stream": False, "options": options}
    reply = served.ask("/api/chat", body).json
    alone = exact.generate(messages=CHAT, max_new_tokens=12, temperature=1.2, seed=4, top_p=0.9)
    assert reply["message"] == {"role": "assistant", "content": alone.text}
    stopped = served.ask("/api/chat", {**body, "options": {"stop": "56", "num_predict": -1}}).json
    assert (stopped["message"]["content"], stopped["done_reason"]) == ("21 47 ", "stop")


def test_what_clients_ask_first(served: Running) -> None:
    (one,) = served.ask("/api/tags").json["models"]
    assert (one["name"], one["details"]["family"]) == ("model", "dream")
    assert served.ask("/api/version").json["version"]


def test_errors_are_a_line(served: Running) -> None:
    for body, status, message in (
        ({"model": "other", "messages": CHAT}, 404, "there is no model"),
        ({"messages": CHAT}, 400, "model is missing"),
        ({"model": "model", "messages": CHAT, "options": {"numpredict": 1}}, 400, "num_predict"),
        ({"model": "model", "messages": CHAT, "format": "json"}, 400, "/v1/choose"),
        ({"model": "model", "messages": CHAT, "dawn": {"policy": 3}}, 400, "dawn.policy is 3"),
    ):
        reply = served.ask("/api/chat", body)
        assert reply.status == status
        assert list(reply.json) == ["error"]
        assert message in reply.json["error"]
    assert served.ask("/api/pull", {}).json["error"].startswith("there is no /api/pull")
