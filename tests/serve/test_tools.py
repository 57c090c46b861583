"""Calls of tools and reasoning over HTTP, with the clients that know them and without."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from support.serving import Running, serving
from support.talking import BARE, TAGGED, THINKING, ScriptedModel, talking
from support.text import TEMPLATE, write_tokenizer

ASKED: list[Any] = [{"role": "user", "content": "3+4?"}]
FIELDS = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "add", "description": "", "parameters": FIELDS}}
]
CLIENT_TOOLS: list[Any] = [{"name": "add", "description": "", "input_schema": FIELDS}]
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 3}}\n</tool_call>'
OPEN = "<think>\n"
SLOW: dict[str, Any] = {"policy": "one-per-step", "block_length": 8}


@dataclass
class Talking:
    """A server, and what its model says."""

    running: Running
    model: ScriptedModel

    def ask(self, path: str, says: str, behind: str = "", **body: Any) -> Any:
        """Asks what the model answers so."""
        self.model.says(says, behind)
        reply = self.running.ask(path, {"messages": ASKED, **body})
        assert reply.status == 200, reply.body
        return reply


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("talk") / "tokenizer.json")


def served(tokenizer: Path, template: str) -> Iterator[Talking]:
    with talking(tokenizer, template) as (decoder, model):
        limits: Any = {"max_new_tokens": 160}
        with serving(decoder, defaults=limits) as running:
            yield Talking(running, model)


@pytest.fixture(scope="module")
def thinking(tokenizer: Path) -> Iterator[Talking]:
    yield from served(tokenizer, THINKING)


@pytest.fixture(scope="module")
def client(thinking: Talking) -> Iterator[openai.OpenAI]:
    url = f"{thinking.running.url}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as opened:
        yield opened


@pytest.fixture(scope="module")
def claude(thinking: Talking) -> Iterator[anthropic.Anthropic]:
    url = thinking.running.url
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as opened:
        yield opened


def test_openais_client_calls_a_tool_and_gives_its_result_back(
    client: openai.OpenAI, thinking: Talking
) -> None:
    thinking.model.says(f"<think>so</think>\n\nI add.\n{CALL}\n{CALL}")
    answer = client.chat.completions.create(model="model", messages=ASKED, tools=TOOLS)
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "I add."
    assert choice.message.model_extra == {"reasoning_content": "so"}
    calls = choice.message.tool_calls or []
    assert [call.type for call in calls] == ["function", "function"]
    functions = [call.function for call in calls if call.type == "function"]
    assert [(one.name, json.loads(one.arguments)) for one in functions] == [("add", {"a": 3})] * 2
    assert len({call.id for call in calls}) == 2
    results: list[Any] = [
        {"role": "tool", "tool_call_id": call.id, "content": "7"} for call in calls
    ]
    thinking.model.says("It is 7.")
    answer = client.chat.completions.create(
        model="model", messages=[*ASKED, choice.message, *results], tools=TOOLS
    )
    assert answer.choices[0].message.content == "It is 7."
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].finish_reason == "stop"


def test_openais_client_streams_calls_and_reasoning(
    client: openai.OpenAI, thinking: Talking
) -> None:
    thinking.model.says(f"<think>\nso so\n</think>\nI add <tool.\n{CALL} {CALL}")
    stream = client.chat.completions.create(
        model="model", messages=ASKED, tools=TOOLS, stream=True, max_tokens=200, extra_body=SLOW
    )
    chunks = [chunk.choices[0] for chunk in stream]
    texts = [chunk.delta.content for chunk in chunks if chunk.delta.content]
    assert "".join(texts) == "I add <tool."
    thoughts = [(chunk.delta.model_extra or {}).get("reasoning_content", "") for chunk in chunks]
    assert "".join(thoughts) == "so so"
    assert len(texts) > 2
    assert len(list(filter(None, thoughts))) > 2
    calls = [call for chunk in chunks for call in chunk.delta.tool_calls or []]
    assert [(call.index, call.function and call.function.name) for call in calls] == [
        (0, "add"),
        (1, "add"),
    ]
    assert all(
        json.loads(call.function.arguments or "") == {"a": 3} for call in calls if call.function
    )
    assert chunks[-1].finish_reason == "tool_calls"


def test_streamed_probabilities_are_those_of_all_tokens(thinking: Talking) -> None:
    body = {"tools": TOOLS, "logprobs": True, **SLOW}
    says = f"<think>a</think>b {CALL}"
    whole = thinking.ask("/v1/chat/completions", says, **body).json["choices"][0]["logprobs"]
    events = thinking.ask("/v1/chat/completions", says, stream=True, **body).events
    told = [data["choices"][0]["logprobs"] for _, data in events[:-1]]
    assert [item for one in told if one for item in one["content"]] == whole["content"]
    assert "".join(one["token"] for one in whole["content"]).rstrip("\0") == says


def test_what_is_no_call_is_text(thinking: Talking) -> None:
    for says in ("<tool_call>\n{add}\n</tool_call>", CALL.replace("add", "sub"), " <tool_call>"):
        for stream in (False, True):
            reply = thinking.ask("/v1/chat/completions", says, tools=TOOLS, stream=stream, **SLOW)
            if not stream:
                (choice,) = reply.json["choices"]
                assert choice["message"]["content"] == says
                assert choice["finish_reason"] == "stop"
                continue
            deltas = [data["choices"][0]["delta"] for _, data in reply.events[:-1]]
            assert "".join(one.get("content", "") for one in deltas) == says
    for fields in ({}, {"tools": TOOLS, "tool_choice": "none"}):
        reply = thinking.ask("/v1/chat/completions", CALL, **fields)
        assert reply.json["choices"][0]["message"]["content"] == CALL, "none was offered"


def test_an_answer_that_is_cut_off_says_so(thinking: Talking) -> None:
    cut = thinking.ask("/v1/chat/completions", f"{CALL} and", tools=TOOLS, max_tokens=len(CALL))
    (choice,) = cut.json["choices"]
    assert (choice["finish_reason"], len(choice["message"]["tool_calls"])) == ("length", 1)
    half = thinking.ask("/v1/chat/completions", CALL, tools=TOOLS, max_tokens=30).json["choices"][0]
    assert half["message"]["content"] == CALL[:30]


def test_tools_are_in_the_prompt_and_reasoning_is_asked_for(thinking: Talking) -> None:
    def tokens(**fields: Any) -> int:
        found = thinking.ask("/v1/chat/completions", "a", max_tokens=12, **fields).json
        return int(found["usage"]["prompt_tokens"])

    plain = tokens()
    assert tokens(tools=TOOLS) > plain + 50
    assert tokens(tools=TOOLS, tool_choice="none") == plain
    assert tokens(chat_template_kwargs={"enable_thinking": True}) == plain + len("<think>\n")
    off = len("<think>\n</think>\n")
    assert tokens(chat_template_kwargs={"enable_thinking": False}) == plain + off
    opened = thinking.ask(
        "/v1/chat/completions", "a</think>b", OPEN, chat_template_kwargs={"enable_thinking": True}
    )
    message = opened.json["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("a", "b")


def test_anthropics_client_calls_a_tool_and_gives_its_result_back(
    claude: anthropic.Anthropic, thinking: Talking
) -> None:
    thinking.model.says(f"so</think>I add.\n{CALL}", OPEN)
    answer = claude.messages.create(
        model="model",
        max_tokens=160,
        messages=ASKED,
        tools=CLIENT_TOOLS,
        thinking={"type": "enabled", "budget_tokens": 1024},
    )
    assert answer.stop_reason == "tool_use"
    thought, text, call = answer.content
    assert (thought.type, text.type, call.type) == ("thinking", "text", "tool_use")
    assert thought.type == "thinking"
    assert thought.thinking == "so"
    assert call.type == "tool_use"
    assert (call.name, call.input) == ("add", {"a": 3})
    result: list[Any] = [
        {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "7"}]},
        {"type": "text", "text": "and now?"},
    ]
    thinking.model.says("It is 7.")
    turns: list[Any] = [
        *ASKED,
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": result},
    ]
    done = claude.messages.create(model="model", max_tokens=60, messages=turns, tools=CLIENT_TOOLS)
    assert [block.type for block in done.content] == ["text"]
    assert done.stop_reason == "end_turn"
    counted = claude.messages.count_tokens(model="model", messages=turns, tools=CLIENT_TOOLS)
    assert counted.input_tokens == done.usage.input_tokens


def test_anthropics_client_streams_blocks_in_their_order(
    claude: anthropic.Anthropic, thinking: Talking
) -> None:
    thinking.model.says(f"<think>so so</think>I add.\n{CALL}{CALL} Done.")
    with claude.messages.stream(
        model="model", max_tokens=200, messages=ASKED, tools=CLIENT_TOOLS, extra_body=SLOW
    ) as stream:
        kinds = [event.type for event in stream if event.type.startswith("content_block")]
        message = stream.get_final_message()
    assert [block.type for block in message.content] == [
        *("thinking", "text", "tool_use", "tool_use", "text")
    ]
    assert [block.input for block in message.content if block.type == "tool_use"] == [{"a": 3}] * 2
    assert message.stop_reason == "tool_use"
    bounds = [kind for kind in kinds if kind != "content_block_delta"]
    assert bounds == ["content_block_start", "content_block_stop"] * 5


def test_the_events_of_reasoning_end_with_a_signature(thinking: Talking) -> None:
    body = {"max_tokens": 60, "stream": True, **SLOW}
    events = thinking.ask("/v1/messages", "<think>so</think>", **body).events
    told = [(data["type"], data.get("delta", {}).get("type")) for _, data in events]
    assert told[:3] == [("message_start", None), ("content_block_start", None), ("ping", None)]
    assert told[-4:-2] == [
        ("content_block_delta", "signature_delta"),
        ("content_block_stop", None),
    ]
    empty = [data["type"] for _, data in thinking.ask("/v1/messages", "", **body).events]
    assert empty[1:4] == ["content_block_start", "ping", "content_block_stop"]


def test_ollamas_clients_get_calls_and_reasoning(thinking: Talking) -> None:
    body = {"model": "model", "tools": TOOLS, "think": True, "options": {"num_predict": 160}}
    reply = thinking.ask("/api/chat", f"so</think>I add. {CALL}", OPEN, stream=False, **body).json
    said = {"role": "assistant", "content": "I add.", "thinking": "so"}
    call = {"function": {"name": "add", "arguments": {"a": 3}}}
    assert reply["message"] == {**said, "tool_calls": [call]}
    assert reply["done_reason"] == "stop"
    history = [*ASKED, reply["message"], {"role": "tool", "tool_name": "add", "content": "7"}]
    streamed = thinking.ask(
        "/api/chat", f"so</think>It is 7.{CALL}", OPEN, messages=history, **body
    )
    messages = [json.loads(line)["message"] for line in streamed.body.splitlines()]
    assert "".join(one["content"] for one in messages) == "It is 7."
    assert "".join(one.get("thinking", "") for one in messages) == "so"
    assert [told for one in messages for told in one.get("tool_calls", [])] == [call]


def test_calls_that_are_the_whole_answer(tokenizer: Path) -> None:
    says = '{"name": "add", "parameters": {"a": 3}}'
    for bare in served(tokenizer, BARE):
        for stream in (False, True):
            body = {"tools": TOOLS, "stream": stream, **SLOW}
            reply = bare.ask("/v1/chat/completions", says, **body)
            if stream:
                deltas = [data["choices"][0]["delta"] for _, data in reply.events[:-1]]
                (call,) = (told for one in deltas for told in one.get("tool_calls", []))
            else:
                message = reply.json["choices"][0]["message"]
                assert message["content"] is None
                (call,) = message["tool_calls"]
            assert json.loads(call["function"]["arguments"]) == {"a": 3}


@pytest.mark.parametrize("template", [TEMPLATE.encode().decode("unicode_escape"), TAGGED])
def test_what_the_template_does_not_know_is_one_line(tokenizer: Path, template: str) -> None:
    knows = template == TAGGED
    history = [*ASKED, {"role": "assistant", "tool_calls": [{"function": {"name": "add"}}]}]
    result = [*ASKED, {"role": "tool", "content": "7"}]
    thought = [*ASKED, {"role": "assistant", "content": "a", "reasoning_content": "b"}]
    blocks = [
        *ASKED,
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "a", "name": "b", "input": {}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]},
    ]
    many: list[tuple[str, dict[str, Any], bool]] = [
        ("/v1/chat/completions", {"tools": TOOLS}, knows),
        ("/v1/chat/completions", {"messages": result}, knows),
        ("/v1/chat/completions", {"messages": thought}, False),
        ("/v1/chat/completions", {"chat_template_kwargs": {"enable_thinking": True}}, False),
        ("/v1/messages", {"max_tokens": 1, "tools": CLIENT_TOOLS}, knows),
        ("/v1/messages", {"max_tokens": 1, "messages": blocks}, knows),
        ("/v1/messages/count_tokens", {"tools": CLIENT_TOOLS}, knows),
        ("/api/chat", {"model": "model", "tools": TOOLS}, knows),
        ("/api/chat", {"model": "model", "think": True}, False),
        ("/v1/fill", {"template": [2], "messages": history}, knows),
        ("/v1/choose", {"choices": ["a", "b"], "messages": result}, knows),
    ]
    for talk in served(tokenizer, template):
        for path, body, is_known in many:
            reply = talk.running.ask(
                path, {**({} if "messages" in body else {"messages": ASKED}), **body}
            )
            assert reply.status == (200 if is_known else 400), (path, body, reply.body)
            if not is_known:
                error = reply.json["error"]
                message = error if isinstance(error, str) else error["message"]
                assert "the chat template of this model" in message
                assert "; leave " in message


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("chat/completions", {"tools": [{"function": {"name": "a b"}}]}, "name is 'a b'; expected"),
        ("chat/completions", {"tools": TOOLS * 2}, "tools hold 'add' twice"),
        ("chat/completions", {"tools": TOOLS, "tool_choice": "required"}, "the model decides"),
        ("chat/completions", {"tools": TOOLS, "parallel_tool_calls": False}, "how many tools"),
        (
            "chat/completions",
            {"tools": [{"function": {"name": "a", "strict": True}}]},
            "not held to their schema",
        ),
        ("messages", {"tools": [{"name": "a"}]}, "tools[0].input_schema is missing"),
        (
            "messages",
            {"tools": [{"name": "a", "input_schema": {}, "type": "bash_20250124"}]},
            "expected one of custom",
        ),
        ("messages", {"tools": CLIENT_TOOLS, "tool_choice": {"type": "any"}}, "the model decides"),
        ("messages", {"thinking": {"type": "on"}}, "thinking is"),
        ("messages", {"thinking": {"type": "enabled", "budget_tokens": 0}}, "budget_tokens is 0"),
        (
            "messages",
            {"messages": [{"role": "user", "content": [{"type": "tool_use"}]}]},
            "block of the type text or tool_result in a message of the user",
        ),
        ("messages", {"messages": [{"role": [], "content": ""}]}, "expected user or assistant"),
        (
            "chat/completions",
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [{"function": {"name": "a", "arguments": "{"}}],
                    }
                ]
            },
            "arguments is no JSON",
        ),
        (
            "chat/completions",
            {"messages": [{"role": "assistant", "content": "", "function_call": {"name": "a"}}]},
            "has the field 'function_call'",
        ),
        (
            "chat/completions",
            {"messages": [{"role": "assistant", "tool_calls": {"a": 1}}]},
            "calls",
        ),
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": "a", "tool_calls": [{"function": {}}]}]},
            "has the field 'tool_calls'",
        ),
    ],
)
def test_tools_that_are_not_what_they_should_be(
    thinking: Talking, path: str, body: dict[str, Any], message: str
) -> None:
    usual: dict[str, Any] = {"messages": ASKED}
    usual |= {"max_tokens": 1} if path == "messages" else {}
    reply = thinking.running.ask(f"/v1/{path}", {**usual, **body})
    assert reply.status == 400
    assert message in reply.json["error"]["message"]
