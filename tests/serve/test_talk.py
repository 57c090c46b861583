"""What an answer is made of, whatever the pieces it comes in, and what a template knows."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawn_runtime import Conversation
from dawn_runtime.chat import ChatTemplate
from dawn_serve.talk.calls import FORMS, CallForm, reader_of
from dawn_serve.talk.knowledge import Knowledge
from dawn_serve.talk.parts import Call, Part, Said, Thought
from dawn_serve.talk.splitter import Splitter
from dawn_serve.talk.thoughts import ThoughtReader
from dawn_serve.wire.kinds import RequestError
from dawn_serve.wire.tools import described
from support.talking import BARE, TAGGED, THINKING
from support.text import TEMPLATE

TAGS, _, PARAMETERS, ARGUMENTS = FORMS
ADD = '{"name": "add", "arguments": {"a": [1, 2]}}'
ADDED = Call("add", {"a": [1, 2]})
ODD = r'{"name": "add", "arguments": {"a": "}\"{</tool_call>\\"}}'
BITS = [
    *(f"<tool_call>\n{ADD}\n</tool_call>", f"<tool_call>{ODD}</tool_call>", ADD, ODD),
    *("<tool_call>", "</tool_call>", "<tool_c", "<think>", "</think>", "<th", "<|python_tag|>"),
    *('{"name": "add"}', '{"name": "other"}', ADD.replace("arguments", "parameters")),
    *(" ", "\n", "a", "é", "{", "}", '"', "\\", ";", "<|py"),
]
TEXTS = st.lists(st.sampled_from(BITS), max_size=7).map("".join)
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
TOOLS = (described("add", "adds numbers", None),)
HISTORY: list[Any] = [
    *HELLO,
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}],
    },
    {"role": "tool", "content": "7"},
]


def merged(parts: list[Part]) -> list[Part]:
    """Puts neighbours of a kind together."""
    found: list[Part] = []
    for part in parts:
        last = found[-1] if found else None
        if isinstance(part, Said) and isinstance(last, Said):
            found[-1] = Said(last.text + part.text)
        elif isinstance(part, Thought) and isinstance(last, Thought):
            found[-1] = Thought(last.text + part.text)
        else:
            found.append(part)
    return found


def split(text: str, form: CallForm | None = TAGS, think: bool | None = None) -> list[Part]:
    return merged(made(form, think).push(text, final=True))


def made(form: CallForm | None, think: bool | None) -> Splitter:
    thoughts = None if think is None else ThoughtReader(think)
    return Splitter(thoughts, None if form is None else reader_of(form, {"add", "sub"}))


@given(TEXTS, st.lists(st.integers(0, 300), max_size=6), st.sampled_from(FORMS), st.data())
def test_pieces_give_what_the_whole_gives_and_lose_nothing(
    text: str, cuts: list[int], form: CallForm, data: st.DataObject
) -> None:
    think = data.draw(st.sampled_from([None, False, True]))
    whole = split(text, form, think)
    for places in ([0, *sorted(cuts), len(text)], range(len(text) + 1)):
        splitter, found = made(form, think), list[Part]()
        for begin, end in pairwise(places):
            found += splitter.push(text[begin:end])
        assert merged(found + splitter.push("", final=True)) == whole
    texts = [part.text for part in whole if not isinstance(part, Call)]
    assert all(texts)
    place = 0
    for one in texts:
        place = text.index(one, place) + len(one)
    if think is None and len(texts) == len(whole):
        assert "".join(texts) == text


def test_calls_between_tags_are_told_from_text() -> None:
    tagged = f"<tool_call>\n{ADD}\n</tool_call>"
    assert split(f"I look.\n{tagged}") == [Said("I look."), ADDED]
    assert split(f"{tagged}\n{tagged}\n") == [ADDED, ADDED]
    assert split(f"{tagged} so it is") == [ADDED, Said("so it is")]
    assert split(tagged.removesuffix("\n</tool_call>")) == [ADDED]
    (odd,) = split(f"<tool_call>{ODD}</tool_call>")
    assert odd == Call("add", {"a": '}"{</tool_call>\\'})
    assert split('<tool_call>{"name": "sub"}</tool_call>') == [Call("sub", {})]
    assert split(f"<tool_call>\n{tagged}") == [Said("<tool_call>"), ADDED]


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\nadd\n</tool_call>",
        '<tool_call>\n{"name": "add", "arguments": {"a": 1}\n</tool_call>',
        '<tool_call>\n{"name": "add", "arguments": "a"}\n</tool_call>',
        '<tool_call>\n{"name": "add", "arguments": {"a": NaN}}\n</tool_call>',
        '<tool_call>\n{"name": "add", "arguments": {}, "why": 1}\n</tool_call>',
        '<tool_call>\n{"name": "add", "arguments": {"a": 1, "a": 2}}\n</tool_call>',
        '<tool_call>\n{"name": "other", "arguments": {}}\n</tool_call>',
        '<tool_call>\n{"name": "add"} and\n</tool_call>',
        "  \n<tool_call>",
        " a <tool_c",
    ],
)
def test_what_is_no_call_of_an_offered_tool_stays_text(text: str) -> None:
    assert split(text) == [Said(text)]


def test_a_text_is_given_out_as_soon_as_it_can_be_no_tag() -> None:
    splitter = made(TAGS, None)
    assert splitter.push("a <tool") == [Said("a")]
    assert splitter.push("s> b") == [Said(" <tools> b")]


def test_calls_without_tags_are_the_whole_answer() -> None:
    text = ADD.replace("arguments", "parameters")
    assert split(f"\n{text}", PARAMETERS) == [ADDED]
    assert split(f"<|python_tag|>{text}; {text}", PARAMETERS) == [ADDED, ADDED]
    typed = '{"type": "function", ' + text[1:]
    assert split(typed, PARAMETERS) == [ADDED]
    assert split(ADD, ARGUMENTS) == [ADDED]
    for other in (ADD, f"Yes: {text}", f"{text} yes", '{"a": 1}', "{", "<|python", ";" + text):
        assert split(other, PARAMETERS) == [Said(other)]
    splitter = made(PARAMETERS, None)
    assert splitter.push("it") == [Said("it")], "it can be no call any more"


def test_reasoning_is_told_from_what_follows() -> None:
    assert split("<think>\nlet me\n</think>\n\nIt is 7", None, False) == [
        Thought("let me"),
        Said("It is 7"),
    ]
    assert split("let me</think>It is 7", None, True) == [Thought("let me"), Said("It is 7")]
    assert split("<think>\n\n</think>\n\nIt", None, False) == [Said("It")]
    assert split("It <think>is</think>", None, False) == [Said("It <think>is</think>")]
    assert split("let me </thi", None, True) == [Thought("let me </thi")]
    both = f"<think>so</think>\n<tool_call>{ADD}</tool_call>"
    assert split(both, TAGS, False) == [Thought("so"), ADDED]
    inside = f"<think><tool_call>{ADD}</tool_call></think>a"
    assert split(inside, TAGS, False)[-1] == Said("a"), "what is thought of is not done"


@pytest.mark.parametrize(
    ("source", "form", "thinks", "switches"),
    [
        (TEMPLATE.encode().decode("unicode_escape"), None, False, False),
        (TAGGED, TAGS, False, False),
        (BARE, PARAMETERS, False, False),
        (THINKING, TAGS, True, True),
        (TAGGED.replace("<tool_call>", "[CALL]"), None, False, False),
        (TAGGED.replace("arguments | tojson", "name"), None, False, False),
    ],
)
def test_a_template_is_asked_what_it_knows(
    source: str, form: CallForm | None, thinks: bool, switches: bool
) -> None:
    knowledge = Knowledge(ChatTemplate(source, {}))
    assert (knowledge.form, knowledge.thinks, knowledge.switches) == (form, thinks, switches)
    assert knowledge.offers == ("tool in tools" in source)
    assert knowledge.reads_results


@pytest.mark.parametrize(
    ("source", "said", "message"),
    [
        (BARE, Conversation(HISTORY, TOOLS), None),
        (THINKING, Conversation(HISTORY, TOOLS, enable_thinking=False), None),
        ("{{ messages }}", Conversation(HELLO, TOOLS), "got tools, and .* knows none"),
        (TAGGED.replace("<tool", "<t"), Conversation(HELLO, TOOLS), "in a way that this server"),
        (
            TAGGED.replace(
                "{{ m.content }}", "{% if m.role != 'tool' %}{{ m.content }}{% endif %}"
            ),
            Conversation(HELLO, TOOLS),
            "got tools, and .* knows no results of tools",
        ),
        ("{{ messages }}", Conversation(HISTORY), "got a message with tool_calls"),
        ("{{ messages }}", Conversation(HISTORY[2:]), "got a message of the role tool"),
        ("{{ messages }}", Conversation(HELLO, (), enable_thinking=False), None),
        ("{{ messages }}", Conversation(HELLO, (), enable_thinking=True), "wish for reasoning"),
        ("</think>", Conversation(HELLO, (), enable_thinking=True), None),
        ("</think>", Conversation(HELLO, (), enable_thinking=False), "has no enable_thinking"),
        (
            "{{ messages }}",
            Conversation([*HELLO, {"role": "assistant", "content": "", "reasoning_content": "a"}]),
            "got a message with reasoning",
        ),
    ],
)
def test_what_it_does_not_know_is_refused(
    source: str, said: Conversation, message: str | None
) -> None:
    knowledge = Knowledge(ChatTemplate(source, {}))
    if message is None:
        knowledge.check(said)
        return
    with pytest.raises(RequestError, match=message):
        knowledge.check(said)
