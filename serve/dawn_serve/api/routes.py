"""All routes, in one table; what is added to it is served, guarded and described."""

from typing import Final

from starlette.responses import JSONResponse, Response

from dawn_serve.api import anthropic, choose, fill, ollama, openai, page, rules, status
from dawn_serve.api.asked import Asked
from dawn_serve.api.openapi import describe
from dawn_serve.api.problems import ANTHROPIC, OLLAMA
from dawn_serve.api.route import Route
from dawn_serve.api.service import Service
from dawn_serve.wire.anthropic import CountRequest, MessagesRequest
from dawn_serve.wire.choose import ChooseRequest
from dawn_serve.wire.fill import FillRequest
from dawn_serve.wire.ollama import OllamaChatRequest
from dawn_serve.wire.openai import ChatRequest, CompletionRequest


async def openapi(asked: Asked) -> Response:
    """Describes all of this, as OpenAPI."""
    return JSONResponse(describe(routes_of(asked.service)))


ROUTES: Final[tuple[Route, ...]] = (
    Route("GET", "/health", status.health, is_open=True),
    Route("GET", "/ready", status.ready, is_open=True),
    Route("GET", "/metrics", status.metrics, gives="text/plain"),
    Route("GET", "/openapi.json", openapi),
    Route("GET", "/v1/models", status.models),
    Route("GET", "/v1/models/{name:path}", status.model),
    Route("GET", "/v1/rules", rules.rules),
    Route("POST", "/v1/completions", openai.completions, body=CompletionRequest, streams=True),
    Route("POST", "/v1/chat/completions", openai.chat_completions, body=ChatRequest, streams=True),
    Route("POST", "/v1/messages", anthropic.messages, ANTHROPIC, MessagesRequest, streams=True),
    Route("POST", "/v1/messages/count_tokens", anthropic.count_tokens, ANTHROPIC, CountRequest),
    Route("POST", "/v1/fill", fill.fill, body=FillRequest, streams=True),
    Route("POST", "/v1/choose", choose.choose, body=ChooseRequest),
    Route("POST", "/api/chat", ollama.chat, OLLAMA, OllamaChatRequest, streams=True),
    Route("GET", "/api/tags", ollama.tags, OLLAMA),
    Route("GET", "/api/version", ollama.version, OLLAMA),
    Route("GET", "/", page.index, is_open=True, gives="text/html", is_page=True),
    Route("GET", "/page/{name}", page.part, is_open=True, gives="text/*", is_page=True),
)


def routes_of(service: Service) -> tuple[Route, ...]:
    """Returns the routes that a server has."""
    return tuple(one for one in ROUTES if service.page or not one.is_page)
