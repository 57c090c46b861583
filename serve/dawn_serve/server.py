"""The application on a socket, and how it ends: nothing that was begun is cut off in its midst.

At the first signal (or when the application is told to) the server takes no more connections,
refuses what waits, and lets what is being decoded come to its end, for `Edges.grace` seconds; what
is left then ends with what there is of it. At the second signal that happens after the step that is
under way, and every client is still told; a third one does not wait for that.
"""

import asyncio
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dawn_runtime.files import reason_of
from dawn_runtime.interruption import SIGNALS
from dawn_serve.api.app import make_app
from dawn_serve.api.service import Service
from dawn_serve.errors import ServeError

_BACKLOG: Final = 2048
_MARGIN_S: Final = 5
"""How much longer than decoding a response may take to be sent."""

_HEADERS_S: Final = 30.0
"""How long a connection may take to say what it wants, from the first byte of that on."""

_IDLE_S: Final = 30
"""How long it may stay open when it has had its answer."""

_STALLED_S: Final = 60.0
"""How long a client may read nothing of what waits for it."""


class _Protocol(H11Protocol):
    """Closes connections on which nothing comes to its end, whatever bytes trickle in.

    What keeps a request waiting for its body is `Edges.body_timeout`; here is the rest: headers, of
    the first request and of later ones; what is sent behind an answer, such as a body that nobody
    read; a client that does not read.
    """

    _late: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the clock."""
        super().connection_made(transport)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops all clocks."""
        self._stop_clock()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Starts the clock, unless these bytes complete a request or belong to one."""
        super().data_received(data)
        if not self._waits():
            self._stop_clock()
        elif self._late is None:
            self._start_clock()

    def on_response_complete(self) -> None:
        """Stops the clock: from here on the connection is idle."""
        self._stop_clock()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client reads slowly, or not at all."""
        super().pause_writing()
        self._stalled = self.loop.call_later(_STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads on."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no HTTP; behind the beginning of an answer there is no place for that."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def _waits(self) -> bool:
        """Whether no request is there that is not answered."""
        return self.cycle is None or self.cycle.response_complete

    def _start_clock(self) -> None:
        self._late = self.loop.call_later(_HEADERS_S, self._close_if_it_waits)

    def _stop_clock(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close_if_it_waits(self) -> None:
        self._late = None
        if self._waits():
            self.transport.close()


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that connections can be made to from now on.

    Args:
        host: Name or address of the machine.
        port: Number; 0 is one that is free.

    Raises:
        ServeError: It cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError, OverflowError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        raise ServeError(
            f"cannot listen on {host} port {port}: {reason}; choose another with --host and --port"
        ) from error


def url_of(listener: socket.socket) -> str:
    """Returns the address of a socket as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """Serves until it is told to stop; see the module.

    Args:
        service: Its parts.
    """

    def __init__(self, service: Service) -> None:
        grace = service.edges.grace
        config = uvicorn.Config(
            make_app(service),
            http=_Protocol,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=int(grace) + _MARGIN_S,
        )
        super().__init__(config)
        self._service = service
        self._signals = 0

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops; called at the end of serving."""
        self._service.scheduler.drain(self._service.edges.grace)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Takes a signal: the first ends it, the second ends answers too, a third does not wait."""
        self.force_exit = self._signals > 1
        if self._signals == 1:
            self._service.scheduler.drain(0)
        self._signals += 1
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles signals while it serves, in the main thread.

        Who watches signals to stop native code is told nothing meanwhile: the step under way is to
        come to its end.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        taken = [one for one in SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]
        before: dict[int, Any] = {one: signal.signal(one, self.handle_exit) for one in taken}
        wakeup = signal.set_wakeup_fd(-1)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for one, handler in before.items():
                signal.signal(one, handler)


def run(server: Server, listener: socket.socket) -> None:
    """Serves on a socket until it is told to stop."""
    asyncio.run(server.serve(sockets=[listener]))
