"""Bytes on a connection that are no good requests: answered or closed in time, nobody harmed."""

import http.client
import logging
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from dawn_runtime import Decoder
from dawn_serve.edges import Edges
from support.serving import Running, serving

LIMIT = 30.0
"""Seconds after which a test takes the server to hang, far above its own limits here."""

POST = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: a\r\n"
BODY = b'{"prompt": "a", "max_tokens": 2}'
SIZED = POST + b"Content-Length: %d\r\n\r\n" % len(BODY)
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def hasty(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A server that waits for nothing longer than a second."""
    monkeypatch.setattr("dawn_serve.server._IDLE_S", 1)
    monkeypatch.setattr("dawn_serve.server._HEADERS_S", 0.5)
    monkeypatch.setattr("dawn_serve.server._STALLED_S", 0.5)
    with serving(decoder, edges=Edges(max_body_bytes=2048, body_timeout=0.3)) as running:
        yield running


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing fails inside the loop, whose errors are logged and told nobody."""
    yield
    assert not [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]


def rest(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    found = b""
    try:
        while chunk := connection.recv(65536):
            found += chunk
    except ConnectionResetError:
        pass
    return found


def head(connection: socket.socket) -> bytes:
    found = b""
    while b"\r\n\r\n" not in found:
        chunk = connection.recv(65536)
        assert chunk
        found += chunk
    return found


def trickle(connection: socket.socket, pieces: list[bytes]) -> None:
    """Sends a piece after the other until the server closes the connection."""
    for piece in pieces:
        try:
            connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            return
        time.sleep(0.02)
    raise AssertionError("the server never closes the connection")


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def nobody_is_left(running: Running) -> bool:
    scheduler = running.service.scheduler
    return not (running.server.server_state.connections or scheduler.running or scheduler.waiting)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (SIZED + BODY, 200),
        (CHUNKED + b"20\r\n" + BODY + b"\r\n0\r\n\r\n", 200),
        (CHUNKED + b"20;a=b\r\n" + BODY + b"\r\n0\r\nTrailer: a\r\n\r\n", 200),
        (POST + b"Expect: 100-continue\r\nContent-Length: 32\r\n\r\n" + BODY, 100),
        (POST + b"\r\n", 400),
        (POST + b"Content-Length: 5\r\n\r\n" + BODY, 400),
        (POST + b"Content-Length: 500\r\n\r\n" + BODY, 408),
        (POST + b"Content-Length: 99999999999999999999999\r\n\r\n" + BODY, 400),
        (POST + b"Content-Length: 5000\r\n\r\n" + BODY, 413),
        (POST + b"Content-Length: -1\r\n\r\n" + BODY, 400),
        (POST + b"Content-Length: 32\r\nContent-Length: 33\r\n\r\n" + BODY, 400),
        (POST + b"Content-Length: 32, 32\r\n\r\n" + BODY, 200),
        (POST + b"Content-Length: 0x20\r\n\r\n" + BODY, 400),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n" + BODY, 400),
        (CHUNKED + b"20\r\n" + BODY, 408),
        (CHUNKED + b"zz\r\n" + BODY, 400),
        (CHUNKED + b"-1\r\n" + BODY, 400),
        (CHUNKED + b"20\r\n" + BODY + b"garbage", 400),
        (CHUNKED + b"fffffffffffffffffff\r\n" + BODY, 408),
        (CHUNKED + b"4\r\n{\xff\xfe}\r\n0\r\n\r\n", 400),
        (POST + b"X" * 70000 + b": a\r\n\r\n", 400),
        (POST + b"no colon\r\n\r\n", 400),
        (POST + b"X: a\x00b\r\n\r\n", 400),
        (b"\x00\x01\x02\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60), 400),
        (b"GET http://[/ HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /v1/models/%00%0a%ff HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (GET + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 200),
        (b"GET /health HTTP/1.0\r\n\r\n", 200),
    ],
)
def test_a_request_is_answered_with_its_status_whatever_it_is_made_of(
    hasty: Running, sent: bytes, status: int
) -> None:
    with socket.create_connection(hasty.address, LIMIT) as connection:
        for piece in (sent[:40], sent[40:]):
            connection.sendall(piece)
            time.sleep(0.01)
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"Traceback" not in answer
    assert b"HTTP/1.1 5" not in answer[10:]
    until(lambda: nobody_is_left(hasty))
    assert hasty.ask("/v1/completions", BODY).status == 200


def test_headers_that_trickle_in_are_not_waited_for(hasty: Running) -> None:
    with socket.create_connection(hasty.address, LIMIT) as connection:
        begun = time.monotonic()
        trickle(connection, [bytes([byte]) for byte in GET + b"X: " + b"a" * 10000])
        assert time.monotonic() - begun < LIMIT / 2


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (GET + b"\r\n", b" 200 "),
        (GET + b"Content-Length: 9999\r\n\r\n", b" 200 "),
        (GET + b"Transfer-Encoding: chunked\r\n\r\n", b" 200 "),
        (b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n", b" 405 "),
        (POST + b"Content-Length: 9999\r\n\r\n", b" 413 "),
        (SIZED.replace(b"Connection: close\r\n", b"") + BODY, b" 200 "),
    ],
)
@pytest.mark.parametrize("later", [b"GET /hea", b"5\r\n", b"zz\r\n", b"\x00"])
def test_what_trickles_in_behind_an_answer_keeps_no_connection_open(
    hasty: Running, first: bytes, status: bytes, later: bytes
) -> None:
    with socket.create_connection(hasty.address, LIMIT) as connection:
        connection.sendall(first)
        assert status in head(connection)
        trickle(connection, [later] * 10000)
        rest(connection)
    until(lambda: nobody_is_left(hasty))


def test_who_does_not_read_is_forgotten(hasty: Running) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(LIMIT)
        connection.connect(hasty.address)
        more = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"
        connection.sendall(more * 400)
        head(connection)
        until(lambda: nobody_is_left(hasty))
        assert hasty.ask("/ready").status == 200


def test_a_connection_is_kept_as_long_as_it_is_used(hasty: Running) -> None:
    connection = http.client.HTTPConnection(*hasty.address, timeout=LIMIT)
    for _ in range(3):
        connection.request("POST", "/v1/completions", BODY)
        reply = connection.getresponse()
        assert (reply.status, bool(reply.read())) == (200, True)
        own = connection.sock
        time.sleep(0.7)
    assert connection.sock is own, "no other was opened"
    connection.close()
