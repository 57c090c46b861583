"""The application on a socket, and how it ends: nothing that was begun is cut off in its midst.

At the first signal (or when the application is told to) the server takes no more connections,
refuses what waits, and lets what is being decoded come to its end, for `Edges.grace` seconds; what
is left then ends with what there is of it. At the second signal that happens at once.
"""

import asyncio
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

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
"""How long a connection may take to say what it wants."""

_IDLE_S: Final = 30
"""How long it may stay open when it has had its answer."""


class _Protocol(H11Protocol):
    """Closes connections that do not come to the end of their first headers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the clock."""
        super().connection_made(transport)
        self._late = self.loop.call_later(_HEADERS_S, self._close_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops it."""
        self._late.cancel()
        super().connection_lost(exc)

    def _close_if_silent(self) -> None:
        if self.cycle is None:
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

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops; called at the end of serving."""
        self._service.scheduler.drain(self._service.edges.grace)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Takes a signal: the first ends it, the second at once."""
        if self.should_exit:
            self._service.scheduler.drain(0)
            self.force_exit = True
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
