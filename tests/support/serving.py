"""A server on this machine for the length of a test, and a plain client for it."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dawn_runtime import Decoder
from dawn_serve.api.service import Service
from dawn_serve.edges import Bounds
from dawn_serve.scheduler import Scheduler
from dawn_serve.server import Server, listen, run, url_of
from support.gate import PATIENCE


@dataclass
class Reply:
    """What a request got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[tuple[str | None, Any]]:
        """Server-sent events: name and data, which is a text where it is no JSON."""
        found = []
        for block in filter(None, self.body.decode().split("\n\n")):
            lines = dict(line.split(": ", 1) for line in block.split("\n"))
            data = lines["data"]
            found.append((lines.get("event"), data if data == "[DONE]" else json.loads(data)))
        return found


@dataclass
class Running:
    """A server that runs."""

    url: str
    address: tuple[str, int]
    service: Service
    server: Server
    lines: list[dict[str, Any]] = field(default_factory=list)

    def ask(
        self,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
    ) -> Reply:
        """Sends a request; a body that is no bytes is sent as JSON."""
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE)
        try:
            kind = method or ("GET" if body is None else "POST")
            connection.request(kind, path, sent, dict(headers or {}))
            reply = connection.getresponse()
            return Reply(reply.status, dict(reply.getheaders()), reply.read())
        finally:
            connection.close()

    def connect(self, path: str, body: Any) -> socket.socket:
        """Sends a request and leaves the connection open."""
        sent = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(sent)}\r\n\r\n"
        connection = socket.create_connection(self.address, timeout=PATIENCE)
        connection.sendall(head.encode() + sent)
        return connection


@contextmanager
def serving(decoder: Decoder, bounds: Bounds | None = None, **parts: Any) -> Iterator[Running]:
    """Serves a decoder; parts are those of `Service`."""
    lines: list[dict[str, Any]] = []
    with Scheduler(decoder, bounds) as scheduler, listen("127.0.0.1", 0) as listener:
        service = Service(decoder, scheduler, ("model",), **{"note": lines.append, **parts})
        server = Server(service)
        address = listener.getsockname()
        thread = threading.Thread(target=run, args=(server, listener), daemon=True)
        thread.start()
        try:
            yield Running(url_of(listener), address, service, server, lines)
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive(), "the server does not end"
