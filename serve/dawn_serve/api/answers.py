"""From what a request wants to answers as they come; the same for every API."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dawn_runtime import Conversation, Filling, PromptError
from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding import RowState
from dawn_runtime.prompts import Prompt
from dawn_runtime.request import Request
from dawn_runtime.settings import Settings
from dawn_serve.api.service import Service
from dawn_serve.jobs import Job, Order, Outcome, Update
from dawn_serve.wire.decoding import settings_of
from dawn_serve.wire.kinds import RequestError

_SEEDS: Final = 2**64


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request wants, whatever API it came by.

    Attributes:
        prompts: At least one.
        given: Settings that the request gives; see `wire.decoding`.
        max_tokens: Most tokens of an answer; None is what the server gives.
        as_room_is: Whether `max_tokens` may be more than the context has room for.
        n: Answers to each prompt.
        stops: Texts at which an answer ends.
        record: Whether updates say why everything was decided.
    """

    prompts: tuple[Prompt | Filling, ...]
    given: Mapping[str, Any]
    max_tokens: int | None = None
    as_room_is: bool = False
    n: int = 1
    stops: tuple[str, ...] = ()
    record: bool = False


class Answers:
    """The answers to one request while they come, in the order prompt by prompt.

    Made by `begin`; belongs to one event loop.

    Args:
        service: The server.
        requests: From `Decoder.prepare`, n for each prompt.
        wanted: What they are of.

    Attributes:
        prompts: Tokens of the prompt of each.
        given: Tokens that each was given, those inside of a template too.
        open: Positions that are decided, for each.
        ids: Of each as it begins, None where a position is decided; None unless they are recorded.
        jobs: Where they are decoded.
    """

    def __init__(self, service: Service, requests: list[Request], wanted: Wanted) -> None:
        rows = [request.row for request in requests]  # as they begin
        self.prompts = [row.start for row in rows]
        self.given = list(map(given_tokens, requests))
        self.open = [np.flatnonzero(row.masked[: row.limit]).tolist() for row in rows]
        self.ids = [_given_ids(row) for row in rows] if wanted.record else None
        self.jobs: list[Job] = []
        self._scheduler = service.scheduler
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[tuple[int, Update | Outcome | BaseException]] = asyncio.Queue()
        self._read: list[tuple[int, Update | Outcome]] = []
        orders = [
            Order(request, wanted.stops, self._teller(number))
            for number, request in enumerate(requests)
        ]
        self.jobs = self._scheduler.submit(orders)
        for number, job in enumerate(self.jobs):
            job.done.add_done_callback(self._ender(number))
        late = self._scheduler.bounds.queue_timeout + 0.01
        self._timer = self._loop.call_later(late, self._scheduler.expire)

    async def __aiter__(self) -> AsyncIterator[tuple[int, Update | Outcome]]:
        """Gives number and update of each step of each answer, and number and outcome at its end.

        Raises:
            Exception: Why one of them has no answer; the others are cancelled then.
        """
        left = len(self.jobs)
        while left:
            number, item = self._read.pop(0) if self._read else await self._next()
            left -= isinstance(item, Outcome)
            yield number, item

    async def joined(self) -> None:
        """Waits until one of them has joined the batch; raises as iterating does."""
        self._read.append(await self._next())

    async def all(self) -> list[Outcome]:
        """Waits for the end of all of them; raises as iterating does."""
        found = {number: item async for number, item in self if isinstance(item, Outcome)}
        return [found[number] for number in range(len(self.jobs))]

    def cancel(self) -> None:
        """Ends what is left of them; nobody listens any more."""
        self._timer.cancel()
        for job in self.jobs:
            if not job.done.done():
                self._scheduler.cancel(job)

    async def _next(self) -> tuple[int, Update | Outcome]:
        number, item = await self._told.get()
        if isinstance(item, BaseException):
            self.cancel()
            raise item
        return number, item

    def _teller(self, number: int) -> Callable[[Update], None]:
        """Returns what the thread that decodes calls after each step of an answer."""
        return lambda update: self._tell(number, update)

    def _ender(self, number: int) -> Callable[["Future[Outcome]"], None]:
        """Returns what is called at its end."""

        def told(done: "Future[Outcome]") -> None:
            error = done.exception()
            self._tell(number, done.result() if error is None else error)

        return told

    def _tell(self, number: int, item: Update | Outcome | BaseException) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._told.put_nowait, (number, item))


async def begin(service: Service, wanted: Wanted) -> Answers:
    """Takes a request in: reads its prompts, beside the event loop, and puts them in the queue.

    Args:
        service: The server.
        wanted: What is wanted.

    Raises:
        RequestError: More answers are asked for than are ever taken at a time.
        QueueFullError: Too many wait.
        StoppingError: The server stops.
        OptionError: A setting has a bad value.
        PromptError: A prompt cannot be decoded by this artifact.
    """
    count = wanted.n * len(wanted.prompts)
    check_count(service, count, "n")
    if wanted.stops and service.decoder.tokenizer is None:
        raise RequestError("stop needs text, and this model has no tokenizer; leave it out", "stop")
    service.scheduler.check_room(count)
    loop = asyncio.get_running_loop()
    requests = await loop.run_in_executor(service.readers, lambda: list(_requests(service, wanted)))
    return Answers(service, requests, wanted)


def check_count(service: Service, count: int, param: str) -> None:
    """Refuses more answers than are ever taken at a time.

    Args:
        service: The server.
        count: How many are asked for.
        param: Field that says so.

    Raises:
        RequestError: They are too many.
    """
    bounds = service.scheduler.bounds
    most = bounds.max_batch_size + bounds.max_queued_requests
    if count > most:
        raise RequestError(
            f"{count} answers are asked for at once; this server takes at most {most}", param
        )


def _requests(service: Service, wanted: Wanted) -> Iterator[Request]:
    settings = settings_of(wanted.given, service.defaults)
    settings.pop("max_new_tokens", None)
    settings["record"] = wanted.record
    seed = settings.get("seed")
    if seed is None:
        seed = secrets.randbits(31) if settings.get("temperature") else 0
    for prompt in wanted.prompts:
        ids = None if isinstance(prompt, Filling) else read_prompt(service, prompt)
        for number in range(wanted.n):
            settings["seed"] = (seed + number) % _SEEDS
            if ids is None:
                check_known(service, prompt)
                request = service.decoder.prepare(prompt, **_of_template(settings, wanted))
            else:
                check_length(service, len(ids))
                settings["max_new_tokens"] = _most_tokens(service, wanted, len(ids))
                request = service.decoder.prepare(input_ids=ids, **settings)
            check_length(service, given_tokens(request))
            yield request


def read_prompt(service: Service, prompt: Prompt) -> IntArray:
    """Returns the token ids of a prompt; it takes a while, so not in the event loop.

    Raises:
        RequestError: The chat template does not know what it holds.
        PromptError: It cannot be decoded by this artifact.
    """
    check_known(service, prompt)
    return service.decoder.encode(prompt)


def check_known(service: Service, prompt: Prompt | Filling) -> None:
    """Refuses what a chat template would leave out without a word.

    Raises:
        RequestError: The prompt holds something of that kind.
    """
    inside = prompt.prompt if isinstance(prompt, Filling) else prompt
    if isinstance(inside, Conversation):
        service.knowledge.check(inside)


def _of_template(settings: Settings, wanted: Wanted) -> Settings:
    """The settings without what the server says of answers that may end early."""
    found = settings.copy()
    if "stop_at_eos" not in wanted.given:
        found.pop("stop_at_eos", None)
    return found


def check_length(service: Service, tokens: int) -> None:
    """Refuses a prompt that is longer than this server takes.

    Raises:
        PromptError: It is.
    """
    most = service.edges.max_input_len
    if most is not None and tokens > most:
        raise PromptError(f"the prompt has {tokens} tokens; this server takes at most {most}")


def _most_tokens(service: Service, wanted: Wanted, prompt: int) -> int | None:
    """Positions to decode: what is asked for, the server's, or what has room."""
    room = max(service.decoder.manifest.dims.max_length - prompt, 1)
    if wanted.max_tokens is None:
        usual = service.defaults.get("max_new_tokens")
        return None if usual is None else min(usual, room)
    return min(wanted.max_tokens, room) if wanted.as_room_is else wanted.max_tokens


def _given_ids(row: RowState) -> list[int | None]:
    """Ids as they are given, None where a position is decided."""
    ids = np.where(row.masked, -1, row.ids)[: row.limit].tolist()
    return [None if one < 0 else one for one in ids]


def given_tokens(request: Request) -> int:
    """Returns how many tokens a request was given that has not begun."""
    return int(np.count_nonzero(~request.row.masked))
