"""The door: who may ask, how much, how fast; who goes is forgotten; who is refused is told."""

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dawn_runtime import Decoder
from dawn_serve.api.routes import ROUTES
from dawn_serve.edges import Bounds, Edges
from support.gate import PATIENCE, GatedEngine
from support.serving import Running, serving

SLOW: dict[str, Any] = {
    "prompt": "a",
    "max_tokens": 12,
    "policy": "one-per-step",
    "stop_at_eos": False,
}


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def read_to(connection: socket.socket, mark: bytes) -> bytes:
    found = b""
    while mark not in found:
        chunk = connection.recv(4096)
        assert chunk, found
        found += chunk
    return found


STEPS: dict[str, Any] = {"policy": "one-per-step", "stop_at_eos": False}
TURNS: list[Any] = [{"role": "user", "content": "a"}]
STREAMS: dict[str, dict[str, Any]] = {
    "/v1/completions": SLOW,
    "/v1/chat/completions": {"messages": TURNS, "max_tokens": 12, **STEPS},
    "/v1/messages": {"messages": TURNS, "max_tokens": 12, **STEPS},
    "/v1/fill": {"template": ["a", 12], "policy": "one-per-step"},
    "/api/chat": {"model": "model", "messages": TURNS, "dawn": STEPS},
}
"""A request of twelve steps or more, for every path that streams."""


def test_every_path_that_streams_is_among_those_whose_clients_go() -> None:
    assert set(STREAMS) == {route.path for route in ROUTES if route.streams}


@pytest.mark.parametrize("query", ["", "?events=1"])
@pytest.mark.parametrize("path", STREAMS)
def test_a_client_that_goes_in_mid_stream_frees_its_place_within_a_step(
    gated: Running, gate: GatedEngine, path: str, query: str
) -> None:
    gate.shut()
    connection = gated.connect(path + query, {**STREAMS[path], "stream": True})
    gate.let(2)
    read_to(connection, b": commit" if query else b" 200 OK")
    gate.wait()  # the third run is under way
    connection.close()
    until(lambda: any(line["status"] == 499 for line in gated.lines))
    gate.let(1)
    until(lambda: gated.service.scheduler.running == 0)
    assert gate.runs == 3
    gate.open()
    assert gated.ask("/v1/completions", SLOW).status == 200


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/completions?events=1"])
def test_a_client_that_goes_while_it_waits_is_forgotten(
    gated: Running, gate: GatedEngine, path: str
) -> None:
    gate.shut()
    connections = [gated.connect(path, SLOW) for _ in range(3)]
    gate.wait()  # a run is under way; how many are in it depends on how fast they came
    until(lambda: gated.service.scheduler.running + gated.service.scheduler.waiting == 3)
    for connection in connections:
        connection.close()
    until(lambda: [line["status"] for line in gated.lines] == [499] * 3)
    assert gated.service.scheduler.waiting == 0
    gate.open()
    until(lambda: gated.service.scheduler.running == 0)
    assert gate.runs == 1, "the one that was under way"


def test_a_connection_that_is_half_closed_is_one_that_has_gone(
    gated: Running, gate: GatedEngine
) -> None:
    gate.shut()
    connection = gated.connect("/v1/completions", SLOW)
    gate.wait()
    connection.shutdown(socket.SHUT_WR)
    gate.open()
    until(lambda: gated.service.scheduler.running == 0)
    connection.close()
    assert gated.ask("/ready").status == 200


def test_more_than_may_wait_get_429_and_when_to_come_back(
    gated: Running, gate: GatedEngine
) -> None:
    gate.shut()
    connections = [gated.connect("/v1/completions", SLOW) for _ in range(4)]
    until(lambda: gated.service.scheduler.running + gated.service.scheduler.waiting == 4)
    reply = gated.ask("/v1/completions", SLOW)
    assert reply.status == 429
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    assert reply.json["error"]["type"] == "rate_limit_error"
    assert (
        gated.ask(
            "/v1/messages", {"messages": [{"role": "user", "content": "a"}]} | {"max_tokens": 1}
        ).json["error"]["type"]
        == "rate_limit_error"
    )
    more = gated.ask("/v1/completions", {**SLOW, "n": 5})
    assert (more.status, more.json["error"]["param"]) == (400, "n")
    gate.open()
    for connection in connections:
        assert b" 200 OK" in read_to(connection, b"\r\n")
        connection.close()


def test_who_waits_too_long_gets_429_while_a_step_lasts(
    decoder: Decoder, gate: GatedEngine
) -> None:
    bounds = Bounds(max_batch_size=1, queue_timeout=0.2)
    with serving(decoder, bounds) as running:
        gate.shut()
        first = running.connect("/v1/completions", SLOW)
        gate.wait()
        for body in (SLOW, {**SLOW, "stream": True}):
            reply = running.ask("/v1/completions", body)
            assert reply.status == 429
            assert "waited 0.2 s for room" in reply.json["error"]["message"]
        gate.open()
        first.close()


def test_a_key_is_asked_for_but_to_learn_whether_the_server_lives(decoder: Decoder) -> None:
    with serving(decoder, api_key="s3cret") as running:
        for headers in ({}, {"Authorization": "Bearer s3cre"}, {"x-api-key": "\xe9"}):
            reply = running.ask("/v1/models", headers=headers)
            assert (reply.status, reply.json["error"]["code"]) == (401, "invalid_api_key")
            assert "s3c" not in str(reply.json), "nobody is told a key"
        for headers in ({"Authorization": "bearer s3cret"}, {"x-api-key": "s3cret"}):
            assert running.ask("/v1/models", headers=headers).status == 200
        assert running.ask("/metrics").status == 401
        shape = running.ask("/v1/messages", {}).json
        assert shape["error"]["type"] == "authentication_error"
        assert running.ask("/health").status == running.ask("/ready").status == 200


def test_other_names_and_other_pages_are_refused(decoder: Decoder) -> None:
    with serving(decoder, hosts=("127.0.0.1",)) as running:
        assert running.ask("/health", headers={"Host": "evil.example:80"}).status == 403
        for host in ("localhost", "127.0.0.1:9", "[::1]:80"):
            assert running.ask("/health", headers={"Host": host}).status == 200
        foreign = running.ask("/v1/completions", SLOW, {"Origin": "https://evil.example"})
        assert foreign.status == 403
        own = running.ask("/v1/completions", SLOW, {"Origin": running.url})
        assert own.status == 200
        assert "access-control-allow-origin" not in own.headers
    with serving(decoder, origins=("https://good.example",)) as running:
        good = running.ask("/v1/completions", SLOW, {"Origin": "https://good.example"})
        assert good.headers["access-control-allow-origin"] == "https://good.example"
        assert (
            running.ask("/v1/completions", SLOW, {"Origin": "https://evil.example"}).status == 403
        )


def test_a_request_that_is_too_large_or_too_slow_is_refused(decoder: Decoder) -> None:
    edges = Edges(max_body_bytes=2048, body_timeout=1.0, max_input_len=20)
    with serving(decoder, edges=edges) as running:
        large = running.ask("/v1/messages", b" " * 3000)
        assert (large.status, large.json["error"]["type"]) == (413, "request_too_large")
        head = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\n"
        with socket.create_connection(running.address, PATIENCE) as slow:
            slow.sendall(head + b"Content-Length: 9\r\n\r\n{")
            assert b" 408 " in read_to(slow, b"\r\n\r\n")
        with socket.create_connection(running.address, PATIENCE) as chunked:
            chunked.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + b"800\r\n" + b" " * 2048)
            chunked.sendall(b"\r\n800\r\n" + b" " * 2048 + b"\r\n0\r\n\r\n")
            assert b" 413 " in read_to(chunked, b"\r\n\r\n")
        long = running.ask("/v1/completions", {**SLOW, "prompt": "a" * 21})
        assert "has 21 tokens; this server takes at most 20" in long.json["error"]["message"]
        filled = running.ask("/v1/fill", {"template": ["a" * 21, 1]})
        assert "has 21 tokens; this server takes at most 20" in filled.json["error"]["message"]


def test_a_connection_that_never_says_what_it_wants_is_closed(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dawn_serve.server._HEADERS_S", 0.8)
    with serving(decoder) as running:
        for sent in (b"", b"POST /v1/comp", b"GET /health HTTP/1.1\r\nHost: a\r\n"):
            with socket.create_connection(running.address, PATIENCE) as slow:
                slow.sendall(sent)
                assert slow.recv(100) == b""
        with socket.create_connection(running.address, PATIENCE) as kept:
            for _ in range(2):
                kept.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
                read_to(kept, b"ok")
                time.sleep(0.9)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[]", "no object"),
        (b'"a"', "no object"),
        (b'{"prompt": NaN}', "no JSON"),
        (b'{"prompt": "a", "prompt": "b"}', "appears twice"),
        (b'{"prompt": "\\ud800"}', "lone surrogate"),
        (b"[" * 1000 + b"]" * 1000, "nested"),
        (b'{"prompt": 1' + b"0" * 100 + b"}", "digits"),
    ],
)
def test_a_body_that_is_no_json_object_is_told_so(
    gated: Running, body: bytes, message: str
) -> None:
    for path in ("/v1/completions", "/v1/messages", "/api/chat", "/v1/fill"):
        reply = gated.ask(path, body)
        assert reply.status == 400
        assert message in str(reply.json["error"])


def test_paths_and_methods_that_there_are_not(gated: Running) -> None:
    assert gated.ask("/v2").status == 404
    assert "there is no /v2" in gated.ask("/v2").json["error"]["message"]
    wrong = gated.ask("/v1/completions", method="GET")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    assert gated.ask("/v1/models/other").status == 404
    assert gated.ask("/v1/completions/", SLOW).status == 404
    assert {line["route"] for line in gated.lines} == {"(none)", "/v1/models/{name:path}"}
    counted = gated.ask("/metrics").body.decode()
    assert 'dawn_requests_total{route="(none)",status="404"} 3' in counted


def test_the_log_and_the_metrics_hold_counts_and_nothing_that_was_written(
    gated: Running,
) -> None:
    secret = "xyzzy"
    asked: tuple[tuple[str, Any], ...] = (
        ("/v1/completions", {**SLOW, "prompt": secret}),
        ("/v1/completions", {**SLOW, "prompt": secret, secret: 1}),
        ("/v1/completions", {**SLOW, "model": secret}),
        (f"/v1/models/{secret}", None),
        (f"/{secret}", None),
    )
    for path, body in asked:
        gated.ask(path, body)
    assert secret not in str(gated.lines)
    first = gated.lines[0]
    assert (first["route"], first["status"], first["finish"]) == (
        "/v1/completions",
        200,
        ["length"],
    )
    assert (first["answer_tokens"], first["forwards"], first["prompt_tokens"]) == (12, 12, 5)
    text = gated.ask("/metrics").body.decode()
    assert secret not in text
    assert 'dawn_requests_total{route="/v1/completions",status="400"} 1' in text
    assert 'dawn_answers_total{reason="length"} 1' in text
    assert "dawn_answer_tokens_total 12" in text
    assert "dawn_queue_seconds_count 1" in text
    for line in text.splitlines():
        name, _, value = line.partition(" ") if line[0] == "#" else line.rpartition(" ")
        assert name == "#" or (name.startswith("dawn_") and float(value) >= 0)


def test_a_server_that_stops_is_not_ready_and_lets_answers_end(
    gated: Running, gate: GatedEngine
) -> None:
    gate.shut()
    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(gated.ask, "/v1/completions", SLOW)
        gate.wait()
        gated.service.scheduler.drain(PATIENCE)
        assert gated.ask("/ready").status == 503
        assert gated.ask("/health").status == 200
        refused = gated.ask("/v1/completions", SLOW)
        assert (refused.status, refused.headers["retry-after"]) == (503, "10")
        gate.open()
        assert begun.result().json["choices"][0]["finish_reason"] == "length"


def test_a_server_whose_thread_has_ended_says_so(decoder: Decoder, gate: GatedEngine) -> None:
    with serving(decoder) as running, ThreadPoolExecutor(1) as pool:
        gate.shut()
        begun = pool.submit(running.ask, "/v1/completions", SLOW)
        gate.wait()
        decoder.close()
        gate.failures = 2
        gate.open()
        assert begun.result().status == 500
        until(lambda: running.service.scheduler.state == "failed")
        assert running.ask("/health").status == 503
        assert running.ask("/v1/completions", SLOW).status == 503
