"""`?events=why` and `?events=graph`: what a run with a record tells, as it is made."""

from typing import Any

import pytest

from dawn_runtime import Decoder
from dawn_runtime.traces import trace_document
from support.gate import GatedEngine
from support.serving import Running

CHAT = [{"role": "user", "content": "There are 3 bags of 3 books. How many books are there now?"}]
LOOSE = {"tau_high": 1.0, "tau_edge": 0.03, "tau_sink": 0.1}
ASKED: dict[str, dict[str, Any]] = {
    "dawn": {"policy": "dawn", "options": LOOSE},
    "dapd": {"policy": "dapd"},
    "threshold": {"policy": "threshold", "options": {"threshold": 0.999}},
    "verify": {"policy": "verify"},
    "guarded": {"policy": "threshold", "guard": "adjacent"},
}
STEP = {"index", "step", "commits", "revoked", "final", "final_tokens"}
COMMIT = {"position", "token", "text", "confidence"}


def events(served: Running, kind: str, **fields: Any) -> list[tuple[str | None, dict[str, Any]]]:
    body = {"messages": CHAT, "max_tokens": 40, **fields}
    return served.ask(f"/v1/chat/completions?events={kind}", body).events


@pytest.mark.parametrize("name", ASKED)
def test_the_events_are_the_trace_of_a_single_run(
    name: str, served: Running, exact: Decoder
) -> None:
    alone = exact.generate(messages=CHAT, max_new_tokens=40, record=True, **ASKED[name])
    trace = trace_document(exact, exact.encode(CHAT), alone)
    (_, begin), *steps, (_, end) = events(served, "graph", **ASKED[name])
    assert begin["given"][: len(trace["given"])] == trace["given"]
    texts = dict(begin["texts"])
    for (kind, told), step, record in zip(steps, trace["steps"], alone.record or (), strict=True):
        assert kind == "commit"
        decided = [
            [one["position"], one["token"], round(one["confidence"], 6), one["reason"]]
            + ([one["because"]] if "because" in one else [])
            for one in told["commits"]
        ]
        assert decided == step["commits"]
        for field in ("window", "fed", "held", "waits", "sinks", "confidence"):
            assert told.get(field) == step.get(field), field
        assert not set(told["texts"]) & set(texts), "each is told once"
        texts |= told["texts"]
        if record.edges is None:
            assert (told["edges"], told["edge_count"]) == (None, 0)
        else:
            assert [one[:2] for one in told["edges"]] == record.edges.pairs.tolist()
            assert told["edge_count"] == record.edges.count
    assert texts.items() >= trace["texts"].items()
    seconds = [told["seconds"] for _, told in steps]
    assert seconds == sorted(seconds)
    assert seconds[-1] <= end["dawn"]["seconds"]
    for field in ("forwards", "tokens_decided", "rows_fed"):
        assert end["dawn"][field] == trace["answer"][field]


def test_dawn_and_dapd_tell_edges_here(served: Running) -> None:
    for name in ("dawn", "dapd"):
        steps = [told for kind, told in events(served, "graph", **ASKED[name]) if kind == "commit"]
        assert len(steps) > 1
        assert any(step["edges"] for step in steps)


def test_who_does_not_ask_gets_none_of_it(served: Running) -> None:
    (_, begin), *steps, _ = events(served, "1", **ASKED["dawn"])
    assert set(begin) == {"index", "prompt_tokens", "positions"}
    for _, step in steps:
        assert set(step) == STEP
        assert all(set(commit) == COMMIT for commit in step["commits"])
    why = events(served, "why", **ASKED["dawn"])[1:-1]
    assert len(why) == len(steps)
    assert all("window" in step and "edges" not in step for _, step in why)


def test_nothing_is_recorded_unless_it_is_asked_for(
    gated: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    monkeypatch.setattr("dawn_runtime.decoding.Unmask.explain", lambda *_: told.append(1))
    for path in ("/v1/completions", "/v1/completions?events=1", "/v1/completions?events=0"):
        assert gated.ask(path, {"prompt": "a", "max_tokens": 4}).status == 200
    assert not told


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "a"}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "a"}], "max_tokens": 2}),
        ("/v1/fill", {"template": ["a", 2]}),
        ("/api/chat", {"model": "model", "messages": [{"role": "user", "content": "a"}]}),
    ],
)
def test_all_streams_tell_why_and_refuse_what_there_is_not(
    gated: Running, gate: GatedEngine, path: str, body: dict[str, Any]
) -> None:
    told = gated.ask(f"{path}?events=why", body).events
    assert (told[0][0], told[-1][0]) == ("begin", "end")
    assert all(step["commits"][0]["reason"] for _, step in told[1:-1])
    runs = gate.runs
    refused = gated.ask(f"{path}?events=all", body)
    error = refused.json["error"]
    message = error if isinstance(error, str) else error["message"]
    assert refused.status == 400
    assert message == "events is 'all'; expected one of 0, 1, why, graph"
    assert gate.runs == runs
