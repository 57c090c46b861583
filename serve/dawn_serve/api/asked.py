"""One HTTP request on its way: what it asks, who waits for it, what the log will say of it."""

import secrets
import time
from collections.abc import Awaitable, Mapping
from typing import Any, Final, Literal, TypeVar, get_args

from starlette.requests import Request

from dawn_runtime.checks import shown
from dawn_serve.api.answers import Answers
from dawn_serve.api.problems import ProblemError
from dawn_serve.api.service import Service
from dawn_serve.api.streams import unless_gone
from dawn_serve.wire.kinds import RequestError
from dawn_serve.wire.records import read_record

T = TypeVar("T")

EventKind = Literal["0", "1", "why", "graph"]
"""Which events are told: none, decisions, why they were made too, the rule's graph beside."""

EVENT_KINDS: Final[tuple[EventKind, ...]] = get_args(EventKind)

_EVENTS: Final[Mapping[str, EventKind]] = {
    **{kind: kind for kind in EVENT_KINDS},
    "": "0",
    "false": "0",
    "true": "1",
}


class Asked:
    """A request that came through the door.

    Args:
        service: The server.
        request: As Starlette has it.
        route: Its path as the table of routes has it, for the log.

    Attributes:
        service: The server.
        number: Names the request.
        created: When it came, in seconds since 1970.
        status: Of the response, as far as it is known.
        document: Its body, empty if it has none.
    """

    def __init__(self, service: Service, request: Request, route: str) -> None:
        self.service, self.created = service, int(time.time())
        self.number = secrets.token_hex(12)
        self.status = 200
        self.document: Mapping[str, Any] = {}
        self._request, self._route = request, route
        self._answers: Answers | None = None
        self._error: str | None = None
        self._begun = time.monotonic()
        self._told = False

    @property
    def events(self) -> EventKind:
        """What is wanted of the steps of decoding, as in `?events=why`.

        Raises:
            RequestError: It is none of them.
        """
        given = self._request.query_params.get("events", "0")
        try:
            return _EVENTS[given]
        except KeyError:
            known = ", ".join(EVENT_KINDS)
            raise RequestError(
                f"events is {shown(given)}; expected one of {known}", "events"
            ) from None

    def parameter(self, name: str) -> str:
        """Returns a part of the path."""
        return str(self._request.path_params[name])

    def header(self, name: str) -> str:
        """Returns a header, empty if there is none."""
        return self._request.headers.get(name, "")

    def read(self, cls: type[T]) -> T:
        """Makes a record of the body; errors as for `read_record`."""
        return read_record(cls, self.document)

    async def unless_gone(self, work: Awaitable[T]) -> T:
        """Returns what some work returns; gives it up when the client goes.

        Raises:
            GoneError: It went.
        """
        return await unless_gone(self._request.receive, work)

    def watch(self, answers: Answers) -> None:
        """Says what has to end when the request does."""
        self._answers = answers

    def noted(self, problem: ProblemError, error: BaseException) -> ProblemError:
        """Returns a problem, after the log has taken it in."""
        self.status = problem.status
        self._error = type(error).__name__
        return problem

    def over(self, seen: bool = True) -> None:
        """The response has been sent, or nobody was there to see it; tells the log once.

        Args:
            seen: Whether the client saw the end.
        """
        if self._told:
            return
        self._told = True
        if self._answers is not None:
            self._answers.cancel()
        status = self.status if seen else 499
        name = self._route
        self.service.scheduler.metrics.add("dawn_requests_total", route=name, status=str(status))
        self.service.note(self._line(status))

    def _line(self, status: int) -> dict[str, Any]:
        """What the log holds of it: counts and names, nothing that anybody wrote."""
        found: dict[str, Any] = {
            "id": self.number,
            "method": self._request.method,
            "route": self._route,
            "status": status,
            "seconds": round(time.monotonic() - self._begun, 4),
        }
        if self._error is not None:
            found["error"] = self._error
        jobs = [] if self._answers is None else self._answers.jobs
        ended = [job for job in jobs if job.done.done() and job.done.exception() is None]
        if ended:
            outcomes = [job.done.result() for job in ended]
            found["finish"] = sorted({outcome.finish for outcome in outcomes})
            found["prompt_tokens"] = sum(one.result.prompt_tokens for one in outcomes)
            found["answer_tokens"] = sum(len(one.tokens) for one in outcomes)
            found["forwards"] = sum(one.result.forwards for one in outcomes)
            found["queue_seconds"] = round(max(one.queued for one in outcomes), 4)
        return found
