"""Whatever comes in: a 4xx of one line, no traceback, nothing that hangs."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dawn_runtime import Decoder
from dawn_serve.api.openapi import describe
from dawn_serve.api.routes import ROUTES
from dawn_serve.edges import Bounds
from support.gate import PATIENCE, GatedEngine
from support.requests_that_fit import VALID
from support.serving import Reply, Running, serving
from support.text import TEXT_MANIFEST

POSTS = [route for route in ROUTES if route.method == "POST"]
NAMES = sorted({name for one in POSTS for name in getattr(one.body, "__dataclass_fields__", ())})
WORDS = [
    "threshold",
    "dawn",
    "verify",
    "dual",
    "blocks",
    "none",
    "stop",
    "model",
    "user",
    "<|mask|>",
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.just(2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(WORDS)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*NAMES, "type", "text", "role", "content"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def running(text_folder: Any) -> Iterator[Running]:
    engine = GatedEngine(TEXT_MANIFEST)
    with Decoder.open(text_folder, engine=engine, literal_text=True) as opened:
        bounds = Bounds(max_batch_size=4, max_queued_requests=8)
        with serving(opened, bounds, defaults={"max_new_tokens": 4, "timeout": 2.0}) as found:
            yield found


def check(reply: Reply) -> None:
    assert reply.status < 500, reply.body
    if reply.status != 200:
        error = reply.json["error"]
        message = error if isinstance(error, str) else error["message"]
        assert message
        assert "\n" not in message
        assert "Traceback" not in message


@pytest.mark.parametrize("path", [route.path for route in POSTS])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_valid_request_with_any_fields_changed_is_answered_or_refused(
    running: Running, path: str, data: st.DataObject
) -> None:
    (route,) = (one for one in POSTS if one.path == path)
    own = sorted(getattr(route.body, "__dataclass_fields__", ()))
    changes = data.draw(st.dictionaries(st.sampled_from([*own, "zzz"]), VALUES, max_size=3))
    check(running.ask(path, {**VALID[path], **changes}))


@settings(max_examples=25)
@given(value=VALUES)
def test_any_json_is_answered_or_refused(running: Running, value: Any) -> None:
    for route in POSTS:
        check(running.ask(route.path, json.dumps(value).encode()))


@settings(max_examples=25)
@given(body=st.binary(max_size=60))
def test_any_bytes_as_a_body_are_refused(running: Running, body: bytes) -> None:
    reply = running.ask("/v1/completions", body)
    assert reply.status == 400
    check(reply)


@settings(max_examples=60)
@given(
    sent=st.binary(min_size=1, max_size=80)
    | st.sampled_from(
        [
            b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
            b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n{}",
            b"GET /v1/models HTTP/1.1\r\n\r\n",
            b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /health HTTP/9.9\r\nHost: a\r\n\r\n",
            b"GET /%00%ff%2e%2e/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ]
    )
)
def test_any_bytes_on_a_connection_harm_nobody(running: Running, sent: bytes) -> None:
    with socket.create_connection(running.address, PATIENCE) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while chunk := connection.recv(65536):
            assert b" 500 " not in chunk.split(b"\r\n")[0]
            assert b"Traceback" not in chunk


def test_the_server_still_serves_afterwards(running: Running) -> None:
    assert running.ask("/v1/completions", VALID["/v1/completions"]).status == 200
    assert running.service.scheduler.running == running.service.scheduler.waiting == 0


def test_the_description_is_of_the_routes_and_every_example_fits_it(running: Running) -> None:
    found = running.ask("/openapi.json").json
    assert found == json.loads(json.dumps(describe(ROUTES)))
    assert set(VALID) == {route.path for route in POSTS}
    for route in POSTS:
        operation = found["paths"][route.path]["post"]
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        schema = found["components"]["schemas"][reference.rpartition("/")[2]]
        assert set(VALID[route.path]) <= set(schema["properties"])
        assert set(schema.get("required", ())) <= set(VALID[route.path])
        assert running.ask(route.path, VALID[route.path]).status == 200
    identifiers = [one["operationId"] for path in found["paths"].values() for one in path.values()]
    assert len(set(identifiers)) == len(identifiers)
    for route in ROUTES:
        plain = route.path.replace(":path", "")
        assert found["paths"][plain][route.method.lower()]["summary"]
