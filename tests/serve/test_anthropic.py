"""`/v1/messages`, with Anthropic's own client and without."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam

from dawn_runtime import Decoder
from support.gate import GatedEngine
from support.serving import Running

CHAT: list[MessageParam] = [{"role": "user", "content": "Sort ascending: 47 61 56 21"}]
TOOL = {"name": "add", "input_schema": {}}
THINK = {"type": "enabled", "budget_tokens": 1024}
SLOW: dict[str, Any] = {"policy": "one-per-step", "block_length": 4}


@pytest.fixture(scope="module")
def client(served: Running) -> Iterator[anthropic.Anthropic]:
    made = anthropic.Anthropic(base_url=served.url, api_key="none", max_retries=0)
    with made as opened:
        yield opened


def test_the_official_client_gets_the_answer_of_a_single_run(
    client: anthropic.Anthropic, exact: Decoder
) -> None:
    alone = exact.generate(messages=CHAT, max_new_tokens=24)
    answer = client.messages.create(model="model", max_tokens=24, messages=CHAT)
    (block,) = answer.content
    assert block.type == "text"
    assert block.text == alone.text == "21 47 56 61"
    assert (answer.stop_reason, answer.role, answer.type) == ("end_turn", "assistant", "message")
    assert answer.usage.input_tokens == alone.prompt_tokens
    assert answer.usage.output_tokens == len(alone.tokens)


def test_the_official_client_streams_it(client: anthropic.Anthropic) -> None:
    with client.messages.stream(
        model="model", max_tokens=16, messages=CHAT, extra_body=SLOW
    ) as stream:
        pieces = list(stream.text_stream)
        message = stream.get_final_message()
    assert "".join(pieces) == "21 47 56 61"
    assert len(pieces) > 1
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens == 11


def test_events_come_in_their_order(served: Running) -> None:
    body = {"max_tokens": 16, "messages": CHAT, "stream": True, **SLOW}
    events = served.ask("/v1/messages", body).events
    names = [name for name, _ in events]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(names[3:-3]) == {"content_block_delta"}
    assert all(name == data["type"] for name, data in events)
    start, delta = events[0][1]["message"], events[-2][1]
    assert (start["content"], start["stop_reason"]) == ([], None)
    assert start["usage"]["input_tokens"] > 0
    assert delta["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}


def test_why_an_answer_ends(served: Running, exact: Decoder) -> None:
    def ended(**fields: Any) -> tuple[Any, Any]:
        reply = served.ask("/v1/messages", {"messages": CHAT, "max_tokens": 16, **fields}).json
        return reply["stop_reason"], reply["stop_sequence"]

    assert ended(stop_sequences=["56"]) == ("stop_sequence", "56")
    assert ended(max_tokens=3) == ("max_tokens", None)
    assert ended(timeout=0) == ("max_tokens", None)
    long = {"messages": [{"role": "user", "content": "a b " * 200}], "max_tokens": 4000}
    room = exact.manifest.dims.max_length - len(exact.encode(long["messages"]))  # type: ignore[arg-type]
    assert 0 < room < 200
    at_once = {"stop_at_eos": False, "policy": "threshold", "options": {"threshold": 0}}
    reply = served.ask("/v1/messages", {**long, **at_once}).json
    assert reply["stop_reason"] == "model_context_window_exceeded"
    assert reply["usage"]["output_tokens"] == room


def test_system_and_blocks_are_read(client: anthropic.Anthropic, exact: Decoder) -> None:
    blocks: list[MessageParam] = [
        {"role": "user", "content": [{"type": "text", "text": "Sort ascending: 47 61 56 21"}]}
    ]
    answer = client.messages.create(
        model="model",
        max_tokens=24,
        messages=blocks,
        system=[
            {"type": "text", "text": "be ", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "brief"},
        ],
    )
    alone = exact.generate(
        messages=[{"role": "system", "content": "be brief"}, *CHAT], max_new_tokens=24
    )
    assert answer.content[0].text == alone.text  # type: ignore[union-attr]
    assert answer.usage.input_tokens == alone.prompt_tokens
    counted = client.messages.count_tokens(model="model", messages=blocks, system="be brief")
    assert counted.input_tokens == alone.prompt_tokens


def test_errors_have_the_shape_that_the_client_reads(
    client: anthropic.Anthropic, served: Running
) -> None:
    with pytest.raises(anthropic.NotFoundError, match="there is no model"):
        client.messages.create(model="other", max_tokens=1, messages=CHAT)
    for body, message in (
        ({"messages": CHAT}, "max_tokens is missing"),
        ({"messages": [], "max_tokens": 1}, "messages is []"),
        ({"messages": [{"role": "system", "content": "a"}], "max_tokens": 1}, "user or assistant"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}], "max_tokens": 1}, "text"),
        ({"messages": CHAT, "max_tokens": 1, "tools": [TOOL]}, "got tools, and the chat template"),
        ({"messages": [*CHAT, {"role": "assistant", "content": "2"}], "max_tokens": 1}, "goes on"),
        ({"messages": CHAT, "max_tokens": 1, "thinking": THINK}, "a wish for reasoning"),
    ):
        reply = served.ask("/v1/messages", body)
        assert reply.status == 400
        assert reply.json["type"] == "error"
        assert reply.json["error"]["type"] == "invalid_request_error"
        assert message in reply.json["error"]["message"]
        assert reply.headers["request-id"]
    unknown = served.ask("/v1/messages/batches", {})
    assert (unknown.status, unknown.json["error"]["type"]) == (404, "not_found_error")


def test_an_error_in_mid_stream_is_an_event(gated: Running, gate: GatedEngine) -> None:
    body = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 9, "stream": True}
    gate.shut()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(gated.ask, "/v1/messages", {**body, "policy": "one-per-step"})
        gate.wait()
        gate.failures = 2
        gate.open()
        name, data = waiting.result().events[-1]
    assert (name, data["error"]["type"]) == ("error", "api_error")


def test_steps_can_be_watched_here_too(served: Running) -> None:
    told = served.ask("/v1/messages?events=1", {"messages": CHAT, "max_tokens": 16, **SLOW}).events
    assert told[0][0] == "begin"
    assert told[-1][1]["text"] == "21 47 56 61"
