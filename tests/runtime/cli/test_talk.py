"""A conversation: commands that begin with a slash, and mistakes that do not end it."""

import functools
import io
import json
from typing import Any

import pytest

from dawn_runtime.cli.generate import main
from support.terminal import Terminal

Run = Any
SHORT = ("--max-new-tokens", "12", "--no-stop-at-eos")


@pytest.fixture
def talk(run_on_fake: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a conversation of some lines; returns status, answers and what is said."""

    def run(*lines: str, flags: tuple[str, ...] = ()) -> tuple[int, list[str], str]:
        with monkeypatch.context() as patch:
            patch.setattr(io, "StringIO", Terminal)
            said = "".join(f"{line}\n" for line in lines)
            status, out, err = run_on_fake(main, "--chat", *SHORT, *flags, stdin=said)
        return status, [json.loads(line)["text"] for line in out.splitlines()], err

    return functools.partial(run)


JSON = ("--json",)


def test_help_names_every_command(talk: Run) -> None:
    status, answers, err = talk("/help", flags=JSON)
    assert (status, answers) == (0, [])
    assert all(f"\n{name}" in err or f"> {name}" in err for name in ("/help", "/reset", "/stats"))


def test_reset_forgets_what_was_said_but_not_the_system_message(talk: Run) -> None:
    flags = (*JSON, "--system", "be brief")
    _, (first, second, third), err = talk("one", "two", "/reset", "one", flags=flags)[:3]
    assert first != second
    assert first == third
    assert "what was said is forgotten" in err


def test_stats_are_of_the_last_answer_and_of_all(talk: Run) -> None:
    _, _, err = talk("/stats", "one", "two", "/stats", flags=(*JSON, "--policy", "one-per-step"))
    assert "nothing is answered yet" in err
    assert "last: 12 tokens decided in 12 forwards (1.00 each), " in err
    assert "all 2: 24 tokens decided in 24 forwards (1.00 each), " in err


def test_policy_decodes_by_another_rule_from_then_on(talk: Run, run_on_fake: Any) -> None:
    _, answers, err = talk("/policy", "/policy threshold threshold=0.3", "one", flags=JSON)
    assert "policy threshold: threshold=0.9\n" in err
    assert "policy threshold: threshold=0.3\n" in err
    given = ("<user>one\n<assistant>", "--policy", "threshold", "--set", "threshold=0.3", "--json")
    assert answers == [json.loads(run_on_fake(main, *given, *SHORT)[1])["text"]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/policy nothing", "unknown policy: 'nothing'"),
        ("/policy threshold threshold=2", "threshold is 2"),
        ("/policy threshold threshold", "'threshold'"),
        ("/rest", "unknown command /rest; known: /help, /reset, /stats, /policy; a message"),
        ("x" * 300, "the prompt has"),
    ],
)
def test_a_mistake_is_one_line_and_the_conversation_goes_on(
    line: str, message: str, talk: Run
) -> None:
    status, answers, err = talk("one", line, "/reset", "one", flags=(*JSON, "--quiet"))
    assert status == 0
    assert answers[0] == answers[1]
    (said,) = [part for part in err.splitlines() if "dawn-generate: " in part]
    assert message in said


def test_two_slashes_begin_a_message_with_one(talk: Run, run_on_fake: Any) -> None:
    _, answers, _ = talk("//help me", flags=JSON)
    raw = run_on_fake(main, "<user>/help me\n<assistant>", "--json", *SHORT)[1]
    assert answers == [json.loads(raw)["text"]]


def test_a_conversation_has_no_trace(talk: Run) -> None:
    status, answers, err = talk("one", flags=("--trace", "run.html"))
    assert (status, answers) == (2, [])
    assert "--trace is of one answer, and this is a conversation; give a PROMPT" in err
