"""Chat templates: the surroundings they count on, and the bounds of the process they run in."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest

from dawn_runtime import PromptError, rendering
from dawn_runtime.chat import ChatTemplate

HELLO = [{"role": "user", "content": "Hello"}]


def render(source: str, messages: Any = HELLO, **tokens: str) -> str:
    return ChatTemplate(source, tokens).render(messages)


@pytest.fixture
def renderer(monkeypatch: pytest.MonkeyPatch) -> Iterator[rendering._Renderer]:
    """A process of this test's own."""
    made = rendering._Renderer()
    monkeypatch.setattr(rendering, "_RENDERER", made)
    yield made
    made.stop()


def test_the_date_is_that_of_today() -> None:
    before = datetime.now().strftime("%d %b %Y|%%")
    found = render(
        "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y|%%') }}{% else %}old{% endif %}"
    )
    assert found in (before, datetime.now().strftime("%d %b %Y|%%"))


def test_generation_marks_are_text_and_a_scope_of_their_own() -> None:
    source = (
        "{% set x = 'a' %}{% for m in messages %}{% generation %}{{ m.content }}"
        "{% set x = 'b' %}{{ x }}{% endgeneration %}{{ x }}{% endfor %}"
    )
    assert render(source) == "Helloba"
    assert render("a\n{%- generation -%}\n b \n{%- endgeneration -%}\nc") == "abc"
    with pytest.raises(PromptError, match="refuses these messages: Unexpected end of template"):
        render("{% generation %}a")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ {'b': 'é<', 'a': 1} | tojson }}", '{"b": "é<", "a": 1}'),
        (
            "{{ {'b': 'é', 'a': 1} | tojson(ensure_ascii=true, sort_keys=true) }}",
            '{"a": 1, "b": "\\u00e9"}',
        ),
        ("{{ [1, {'a': 2}] | tojson(separators=(',', ':')) }}", '[1,{"a":2}]'),
        ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
        ("{{ tools is none }}{{ documents is none }}{{ nothing is defined }}", "TrueTrueFalse"),
        (
            "{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}",
            "0234",
        ),
        (
            "{% set n = namespace(x=1) %}{% for i in [1, 2] %}{% set n.x = n.x + i %}{% endfor %}"
            "{{ n.x }}",
            "4",
        ),
        ("{{ dict(a=1).a }}{{ '%s-%d' | format('x', 3) }}", "1x-3"),
        ("{{ messages[0]['content'][::-1] }}{{ messages[-1].role.title() }}", "olleHUser"),
    ],
)
def test_functions_and_filters_are_those_that_templates_count_on(
    source: str, expected: str
) -> None:
    assert render(source) == expected


def test_content_that_is_no_text_is_at_hand_but_not_printed_as_if_it_were() -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    looped = (
        "{% for m in messages %}{% if m.content is string %}no{% else %}"
        "{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}{% endfor %}"
    )
    assert render(looped, parts) == "hi"
    assert render("{{ messages[0].content | tojson }}", parts) == '[{"type": "text", "text": "hi"}]'
    for source in ("{{ messages[0].content }}", "{{ 'a' ~ messages[0].content }}"):
        with pytest.raises(PromptError, match="the template takes texts as content, and this is"):
            render(source, parts)
        with pytest.raises(PromptError, match="the template takes texts as content"):
            render(source, [{"role": "tool", "content": {"degrees": 22}}])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ 1 / 0 }}", "ZeroDivisionError: division by zero"),
        ("{{ range(10**9) | list }}", "OverflowError"),
        ("{{ 'a'.index('b') }}", "ValueError: substring not found"),
        ("{{ 'é'.encode('ascii') }}", "UnicodeEncodeError"),
        ("{{ 'abc' | truncate(-5) }}", "AssertionError"),
        ("{{ {}['a'].b }}", "has no attribute 'a'"),
        ("{{ [].pop() }}", "unsafe"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "RecursionError"),
        ("{{ '%d' % 'a' }}", "a real number is required|number is required"),
        ("{{ raise_exception('never') }}", "refuses these messages: never"),
        ("{{ [1, 'a'] | sort }}", "'<' not supported"),
        ("{{ 'a' | nothing }}", "No filter named 'nothing'"),
        ("{{ ().__class__.__base__.__subclasses__() }}", "unsafe"),
    ],
)
def test_whatever_a_template_raises_is_a_prompt_error(source: str, message: str) -> None:
    with pytest.raises(PromptError, match=message) as caught:
        render(source)
    assert "\n" not in str(caught.value)


DOUBLED = "{% set n = namespace(x=['ab']) %}{% for i in range(99) %}{% set n.x = {} %}{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 10**10 }}",
        "{{ ['a'] * 10**10 }}",
        "{{ 'a'.ljust(10**10) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:>9000000000}'.format(1) }}",
        "{{ 'abc' | center(10**10) }}",
        "{{ ('a' * 10**5).replace('a', 'b' * 10**5) }}",
        "{{ (1).to_bytes(10**10, 'big') }}",
        DOUBLED.replace("{}", "n.x ~ n.x"),
        DOUBLED.replace("{}", "n.x + n.x"),
    ],
)
def test_memory_is_bounded(source: str, renderer: rendering._Renderer) -> None:
    with pytest.raises(PromptError, match="the chat template needs more than 512 MB"):
        render(source)
    assert render("{{ messages[0].content }}") == "Hello"


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 9 ** (9 ** 9) }}",  # computed while it is compiled
        DOUBLED.replace("{}", "[n.x, n.x]") + "{{ n.x | string | length }}",
        DOUBLED.replace("{}", "(n.x, n.x)").replace("['ab']", "1") + "{{ {n.x: 1} }}",
    ],
)
def test_time_is_bounded_in_any_thread(
    source: str, renderer: rendering._Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "SECONDS", 0.2)
    started = time.monotonic()
    with ThreadPoolExecutor(1) as pool, pytest.raises(PromptError, match=r"takes more than 0\.2 s"):
        pool.submit(render, source).result()
    assert time.monotonic() - started < 30
    assert render("{{ messages[0].content }}") == "Hello"


def test_a_prompt_has_a_longest_length() -> None:
    with pytest.raises(PromptError, match="the prompt has more than 16777216 characters"):
        render("{{ 'a' * 17000000 }}")


def test_several_threads_get_their_own_answers() -> None:
    def answer(number: int) -> str:
        return render("{{ messages[0].content }}", [{"role": "user", "content": str(number)}])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(answer, range(200))) == list(map(str, range(200)))


def test_one_rendering_leaves_nothing_to_the_next() -> None:
    assert render("{% set x = 1 %}{{ x }}{{ y is defined }}") == "1False"
    assert render("{{ x is defined }}") == "False"


def test_a_process_that_was_ended_is_started_again(renderer: rendering._Renderer) -> None:
    assert render("a") == "a"
    process = renderer._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert render("b") == "b"


def test_a_process_that_was_begun_is_the_one_that_renders(renderer: rendering._Renderer) -> None:
    rendering.begin()
    process = renderer._process
    assert process is not None
    rendering.begin()
    assert render("a") == "a"
    assert renderer._process is process


def test_the_process_ends_with_its_parent(renderer: rendering._Renderer) -> None:
    assert render("a") == "a"
    process = renderer._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()  # as when the parent is gone, however it went
    assert process.wait(timeout=20) == 0


def test_a_forked_process_renders_for_itself(renderer: rendering._Renderer) -> None:
    assert render("a") == "a"
    process = renderer._process
    renderer.forget()  # what a fork does in the child
    assert render("b") == "b"
    assert renderer._process is not None
    assert process is not None
    assert renderer._process.pid != process.pid
    os.kill(process.pid, signal.SIGKILL)
    os.waitpid(process.pid, 0)


def test_a_program_without_a_python_says_so(
    renderer: rendering._Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "")
    rendering.begin()  # leaves it to who renders
    with pytest.raises(ImportError, match="this program brings no Python to start"):
        render("a")
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    rendering.begin()
    with pytest.raises(PromptError, match=r"the chat template cannot be run: .*No such file"):
        render("a")


def test_special_tokens_are_variables() -> None:
    assert render("{{ bos_token }}{{ eos_token is defined }}", bos_token="<s>") == "<s>False"


def test_a_rendering_is_quick_once_the_process_runs() -> None:
    render("{{ messages }}")
    started = time.process_time()
    for _ in range(20):
        render("{% for m in messages %}{{ m.content }}{% endfor %}")
    assert (time.process_time() - started) / 20 < 0.02
