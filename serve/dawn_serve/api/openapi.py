"""`/openapi.json`, made of the table of routes and of the records that requests are read with."""

import re
from collections.abc import Sequence
from typing import Any, Final

from dawn_runtime import __version__
from dawn_serve.api.asked import EVENT_KINDS
from dawn_serve.api.route import Route
from dawn_serve.wire.records import schema_of

_JSON: Final = "application/json"
_STREAMS: Final = ("text/event-stream", "application/x-ndjson")
_REFUSALS: Final = {
    "400": "the request is not what it should be",
    "401": "an API key is asked for",
    "403": "this name or this web page is not answered",
    "404": "there is no such model",
    "408": "the request did not come to its end in time",
    "413": "the request is too large",
    "429": "there is no room now; the header retry-after says when to come back",
    "500": "the engine failed",
    "503": "the server takes no requests",
}
_EVENTS: Final = {
    "name": "events",
    "in": "query",
    "required": False,
    "schema": {"type": "string", "enum": list(EVENT_KINDS), "default": "0"},
    "description": "1 tells every decision as it is made, as server-sent events; why also the "
    "reason of each, and what waited for what; graph also the dependencies among what is undecided",
}


def describe(routes: Sequence[Route]) -> dict[str, Any]:
    """Returns the description of a table of routes, in OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(_plain(route.path), {})[route.method.lower()] = _operation(route)
    records = {route.body.__name__: schema_of(route.body) for route in routes if route.body}
    return {
        "openapi": "3.1.0",
        "info": {"title": "dawn-serve", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": records,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _plain(path: str) -> str:
    return re.sub(r"\{(\w+):\w+\}", r"{\1}", path)


def _operation(route: Route) -> dict[str, Any]:
    name = route.handler.__module__.rpartition(".")[2]
    found: dict[str, Any] = {
        "operationId": f"{name}_{route.handler.__name__}",
        "summary": route.summary,
        "responses": _responses(route),
        "parameters": _parameters(route),
        "security": [] if route.is_open else [{}, {"key": []}],
    }
    if route.body is not None:
        schema = {"$ref": f"#/components/schemas/{route.body.__name__}"}
        found["requestBody"] = {"required": True, "content": {_JSON: {"schema": schema}}}
    return found


def _parameters(route: Route) -> list[dict[str, Any]]:
    names = re.findall(r"\{(\w+)", route.path)
    text = {"type": "string"}
    found = [{"name": n, "in": "path", "required": True, "schema": text} for n in names]
    return [*found, _EVENTS] if route.streams else found


def _responses(route: Route) -> dict[str, Any]:
    kinds = [route.gives, *(_STREAMS if route.streams else ())]
    answer = {"description": route.summary, "content": {kind: {} for kind in kinds}}
    told = {"content": {_JSON: {"schema": {"type": "object"}}}}
    refused = {status: {"description": why, **told} for status, why in _REFUSALS.items()}
    return {"200": answer, **refused}
