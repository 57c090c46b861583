"""`/v1/fill`: templates."""

import math
from typing import Any

import pytest

from dawn_runtime import Decoder
from support.serving import Running

ASK = [{"role": "user", "content": "Reverse this list: boat bee hat dog"}]
TEMPLATE = ["dog", 2, " boat"]


def test_holes_are_decided_as_in_a_single_run(served: Running, exact: Decoder) -> None:
    reply = served.ask("/v1/fill", {"messages": ASK, "template": TEMPLATE}).json
    alone = exact.fill(TEMPLATE, prompt=ASK)
    assert reply["text"] == alone.text == "dog hat bee boat"
    (hole,) = reply["holes"]
    assert (hole["text"], hole["begin"]) == (" hat bee", alone.holes[0].begin)
    sure = {commit.position - alone.prompt_tokens: commit.confidence for commit in alone.trace}
    expected = [min(0.0, math.log(sure[hole["begin"] + n])) for n in range(2)]
    assert hole["logprobs"] == pytest.approx(expected)
    assert reply["usage"]["completion_tokens"] == 2
    assert reply["usage"]["total_tokens"] == alone.prompt_tokens + len(alone.tokens)


def test_text_before_and_streams(served: Running, exact: Decoder) -> None:
    body = {"prompt": "Sort ascending: 3 1\n", "template": ["1", 2], "policy": "one-per-step"}
    events = [data for _, data in served.ask("/v1/fill", {**body, "stream": True}).events]
    alone = exact.fill(["1", 2], prompt="Sort ascending: 3 1\n", policy="one-per-step")
    assert events[-1] == "[DONE]"
    assert events[-2]["text"] == alone.text
    assert "".join(one["text"] for one in events[:-2]) == alone.text
    told = served.ask("/v1/fill?events=1", body).events
    assert told[0][1]["positions"] == sorted(one.position for one in alone.trace)
    bare = served.ask("/v1/fill", {"template": ["a", 1]})
    assert bare.json["text"] == exact.fill(["a", 1]).text


def test_text_of_the_mask_is_no_hole(served: Running) -> None:
    reply = served.ask("/v1/fill", {"template": ["<|mask|>", 1]}).json
    assert len(reply["holes"]) == 1
    assert reply["text"].startswith("<|mask|>")


def test_what_cannot_be_filled_is_refused(served: Running) -> None:
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, "template is missing"),
        ({"template": "a"}, "template is 'a'"),
        ({"template": []}, "template is []"),
        ({"template": ["a", 0]}, "template[1] is 0"),
        ({"template": ["a", True]}, "template[1] is True"),
        ({"template": ["a"]}, "nothing is left to fill"),
        ({"template": [1, "a"]}, "begins with a hole"),
        ({"template": ["a", 5000]}, "exceed the context"),
        ({"template": ["a", 1], "prompt": "a", "messages": ASK}, "at most one"),
        ({"template": ["a", 1], "stop_at_eos": True}, "fill takes no stop_at_eos"),
        ({"template": ["a", 1], "max_tokens": 3}, "unknown field of the request: 'max_tokens'"),
    )
    for body, message in cases:
        reply = served.ask("/v1/fill", body)
        assert reply.status == 400, body
        assert message in reply.json["error"]["message"], body
