"""The door that all requests come through, and the application behind it.

Whatever a client sends, it gets an answer in the shape of the API that it asked, of one line and
without a traceback: who it is, how much it sends and what it sends are looked at here, once.
"""

import asyncio
import hmac
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Path

from dawn_runtime._json import is_unicode, parse_json
from dawn_serve.api.asked import Asked
from dawn_serve.api.problems import CLIENT_GONE, ProblemError, Shape, problem_of, shape_of
from dawn_serve.api.route import Route
from dawn_serve.api.routes import routes_of
from dawn_serve.api.service import Service
from dawn_serve.api.streams import Stream
from dawn_serve.errors import GoneError

Endpoint = Callable[[Request], Awaitable[Response]]

_NOWHERE: Final = "(none)"
"""What the log calls a path that there is not."""

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def make_app(service: Service) -> Starlette:
    """Returns the application of a server, for any server of ASGI.

    Args:
        service: Its parts; closed, as is its scheduler, when the application shuts down.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        service.close()

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        asked = Asked(service, request, _NOWHERE)
        problem = asked.noted(_unknown(service, request, error), error)
        asked.over()
        return _refusal(shape_of(request.url.path), problem, asked.number)

    paths = [
        Path(one.path, _door(service, one), methods=[one.method]) for one in routes_of(service)
    ]
    application = Starlette(
        routes=paths,
        lifespan=lifespan,
        middleware=_middleware(service),
        exception_handlers={HTTPException: refused},
    )
    application.router.redirect_slashes = False
    return application


def _middleware(service: Service) -> list[Middleware]:
    if not service.origins:
        return []
    allowed = list(service.origins)
    return [
        Middleware(CORSMiddleware, allow_origins=allowed, allow_methods=["*"], allow_headers=["*"])
    ]


def _unknown(service: Service, request: Request, error: HTTPException) -> ProblemError:
    """What is said of a path or a method that there is not."""
    path = request.url.path
    if error.status_code == 405:
        return ProblemError(
            405, f"{path:.200} does not take {request.method}", headers=error.headers
        )
    known = ", ".join(dict.fromkeys(one.path for one in routes_of(service)))
    return ProblemError(404, f"there is no {path:.200}; there are {known}", code="not_found")


def _refusal(shape: Shape, problem: ProblemError, number: str | None = None) -> Response:
    headers = problem.headers if number is None else {**problem.headers, shape.request_id: number}
    return JSONResponse(shape.error(problem), problem.status, headers=headers)


def _door(service: Service, route: Route) -> Endpoint:
    """Returns what Starlette calls for a route."""

    async def come_in(request: Request) -> Response:
        asked = Asked(service, request, route.path)
        try:
            _check_host(service, request)
            _check_origin(service, request)
            if not route.is_open:
                _check_key(service, request)
            if route.body is not None:
                asked.document = await _document(service, request)
            response = await route.handler(asked)
            response.headers[route.shape.request_id] = asked.number
        except Exception as error:
            response = _refused(asked, route, error)
        if not isinstance(response, Stream):
            asked.over(asked.status != CLIENT_GONE)
        return response

    return come_in


def _refused(asked: Asked, route: Route, error: Exception) -> Response:
    if isinstance(error, ClientDisconnect):
        error = GoneError("the client has gone")
    problem = asked.noted(problem_of(error), error)
    if problem.status >= 500 and asked.service.debug:
        traceback.print_exception(error, file=sys.stderr)
    return _refusal(route.shape, problem, asked.number)


def _check_host(service: Service, request: Request) -> None:
    """Refuses names that are not the server's: a web page may have given its own to this address.

    Raises:
        ProblemError: It is another.
    """
    name = _name_of(request.headers.get("host", ""))
    if service.hosts and name not in (*service.hosts, *_LOOPBACK):
        raise ProblemError(
            403, f"this server does not answer as {name!r:.100}; use its own address"
        )


def _name_of(host: str) -> str:
    """Returns the name or address of a `Host` header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _check_origin(service: Service, request: Request) -> None:
    """Refuses web pages of others, which could ask even where they cannot read the answer.

    Raises:
        ProblemError: It is one.
    """
    origin = request.headers.get("origin")
    if origin is None or request.method != "POST" or "*" in service.origins:
        return
    own = origin.partition("://")[2] == request.headers.get("host")
    if not own and origin not in service.origins:
        raise ProblemError(403, f"the page {origin!r:.100} may not ask here; see --allow-origin")


def _check_key(service: Service, request: Request) -> None:
    """Refuses who has not the key; takes the same time whatever was given.

    Raises:
        ProblemError: It is missing or another.
    """
    if service.api_key is None:
        return
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    found = token.strip() if kind.lower() == "bearer" else request.headers.get("x-api-key", "")
    if not hmac.compare_digest(found.encode(), service.api_key.encode()):
        given = "an API key that is not this server's" if found else "no API key"
        raise ProblemError(
            401,
            f"got {given}; give it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )


async def _document(service: Service, request: Request) -> Mapping[str, Any]:
    """Reads the body, within its bounds, as an object of JSON.

    Raises:
        ProblemError: It is too large, too late, no JSON, or no object.
    """
    try:
        body = await asyncio.wait_for(_body(service, request), service.edges.body_timeout)
    except asyncio.TimeoutError as error:
        raise ProblemError(
            408, "the request did not come to its end in time; send it at once"
        ) from error
    try:
        document = parse_json(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ProblemError(400, f"the body is not UTF-8 (byte {error.start}); send JSON") from error
    except ValueError as error:
        raise ProblemError(400, f"the body is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ProblemError(400, "the body is JSON but no object; send an object such as {...}")
    if not is_unicode(document):
        raise ProblemError(
            400, "the body holds half a character (a lone surrogate); send whole ones"
        )
    return document


async def _body(service: Service, request: Request) -> bytes:
    most = service.edges.max_body_bytes
    too_large = ProblemError(413, f"the body is larger than {most} bytes; send less")
    said = request.headers.get("content-length", "0")
    if said.isdecimal() and len(said) < 20 and int(said) > most:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise too_large
    return bytes(body)
