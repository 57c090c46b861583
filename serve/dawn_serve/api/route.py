"""What a route is: a path, what answers it, and what is said of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from dawn_serve.api.asked import Asked
from dawn_serve.api.problems import OPENAI, Shape

Handler = Callable[[Asked], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """A path and what answers it.

    Attributes:
        method: GET or POST.
        path: As Starlette has it.
        handler: Answers.
        shape: How problems are told.
        body: Record of the body of a POST.
        is_open: Whether it asks for no key.
        gives: Media type of what it answers.
        streams: Whether it can answer step by step.
        is_page: Whether it is of the page for browsers, which `--no-page` leaves out.
    """

    method: str
    path: str
    handler: Handler
    shape: Shape = OPENAI
    body: type[Any] | None = None
    is_open: bool = False
    gives: str = "application/json"
    streams: bool = False
    is_page: bool = False

    @property
    def summary(self) -> str:
        """What it does, in a line."""
        return (self.handler.__doc__ or "").strip().split("\n")[0]
