"""What all routes share: the decoder, the scheduler, how the server was set up."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from dawn_runtime import Decoder
from dawn_runtime.settings import Settings
from dawn_serve.api.problems import ProblemError
from dawn_serve.edges import Edges
from dawn_serve.scheduler import Scheduler
from dawn_serve.talk.knowledge import Knowledge

_READERS: Final = 4
"""Threads that read prompts, so that one long prompt keeps nobody else waiting."""

Note = Callable[[dict[str, Any]], None]
"""Takes what the log holds of a request."""


@dataclass(slots=True)
class Service:
    """A server's parts.

    Attributes:
        decoder: Opened with `literal_text`.
        scheduler: Over the same decoder.
        names: What the model is called; the first is its name, the others are taken too.
        defaults: Settings where a request leaves them out.
        edges: What a single request may be.
        api_key: What clients have to give; None asks for nothing.
        hosts: Names under which the server answers; empty is any.
        origins: Origins of foreign web pages that may ask.
        page: Whether there is a page for browsers.
        note: Takes a line of the log.
        debug: Whether the log holds tracebacks.
        knowledge: What the chat template of the model knows.
    """

    decoder: Decoder
    scheduler: Scheduler
    names: tuple[str, ...]
    defaults: Settings = field(default_factory=lambda: Settings())
    edges: Edges = field(default_factory=Edges)
    api_key: str | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    page: bool = True
    note: Note = lambda line: None
    debug: bool = False
    begun: float = field(default_factory=time.time)
    readers: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_READERS, "dawn-reader")
    )

    knowledge: Knowledge = field(init=False)

    def __post_init__(self) -> None:
        self.knowledge = Knowledge(self.decoder.chat)

    @property
    def name(self) -> str:
        """What the model is called."""
        return self.names[0]

    def check_model(self, name: str | None) -> None:
        """Refuses a model that is not here; none is the one that is.

        Raises:
            ProblemError: It is another.
        """
        if name is not None and name not in self.names:
            raise ProblemError(
                404,
                f"there is no model {name!r:.100}; this server has {', '.join(self.names)}",
                code="model_not_found",
                param="model",
            )

    def close(self) -> None:
        """Ends the threads that read prompts."""
        self.readers.shutdown(wait=False, cancel_futures=True)
