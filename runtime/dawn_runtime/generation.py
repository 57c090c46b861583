"""Requests on their way through an engine: those that come and go, and those of one call."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from types import MappingProxyType

from dawn_runtime.decoding import Batch, Packer, RowState
from dawn_runtime.decoding.device_batch import DeviceBatch
from dawn_runtime.decoding.prefixes import PrefixCache
from dawn_runtime.engine import Engine
from dawn_runtime.engine.device import DeviceEngine
from dawn_runtime.errors import DawnError, EngineError
from dawn_runtime.halting import WATCHDOG, Halt
from dawn_runtime.request import Request
from dawn_runtime.results import Result


class RequestBatch:
    """Requests that join and leave a `Batch`; one that ends frees its place at once.

    Args:
        batch: Where their rows are.

    Attributes:
        seconds: Wall time of all steps so far.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._requests: dict[int, Request] = {}
        self._inside: dict[int, Request] = {}
        self.seconds = 0.0

    @property
    def requests(self) -> Mapping[int, Request]:
        """All that have not left, by key."""
        return MappingProxyType(self._requests)

    @property
    def engine_seconds(self) -> float:
        """Time inside the engine so far."""
        return self._batch.engine_seconds

    @property
    def kv_bytes_bound(self) -> int:
        """Most bytes that kept keys and values take, whoever joins."""
        return self._batch.kv_bytes_bound

    def is_over(self, key: int) -> bool:
        """Tells whether no step follows for a request: all is decided, or it was stopped.

        Raises:
            DawnError: No such request is here.
        """
        self.request(key)
        return key not in self._inside

    def row(self, key: int) -> RowState:
        """Returns the row of a request as it is now.

        Raises:
            DawnError: No such request is here.
        """
        return self._batch.row(key) if key in self._inside else self.request(key).row

    def admit(self, request: Request) -> int:
        """Takes a request in and returns its key; errors as for `Batch.admit`."""
        key = self._batch.admit(request.row, request.scheme, request.recorder)
        self._requests[key] = self._inside[key] = request
        return key

    def leave(self, key: int) -> Request:
        """Lets a request go, over or not.

        Raises:
            DawnError: No such request is here.
        """
        request = self.request(key)
        self._release(key)
        del self._requests[key]
        return request

    def step(self) -> tuple[int, ...]:
        """Takes all that are due one step further and returns their keys.

        Requests that are stopped meanwhile, by a deadline or by `Request.cancel`, end with the
        step; if that is all of them, the run is given up where the engine can do so, and nobody
        has moved.

        Raises:
            EngineError: The engine failed or returned NaN or infinity.
        """
        self._dismiss()
        if not self._inside:
            return ()
        moved = self._move()
        for key in moved:
            self._requests[key].engine_seconds = self._batch.engine_seconds_of(key)
            if self._batch.is_finished(key):
                self._release(key)
        return moved

    def _dismiss(self) -> None:
        """Frees the places of those for whom no step is due."""
        for key, request in list(self._inside.items()):
            if not request.due(self._batch.steps(key)):
                self._release(key)

    def _move(self) -> tuple[int, ...]:
        """Takes a step of the batch, within the time that is left for it."""
        requests = tuple(self._inside.values())
        halt = Halt(lambda: all(request.stopped for request in requests))
        moved, started = tuple(self._inside), time.perf_counter()
        try:
            with _attended(requests, halt), halt.watching():
                moved = self._batch.step()
        except EngineError:
            if not halt.hit:
                raise
        seconds = time.perf_counter() - started
        self.seconds += seconds
        for key in moved:
            self._requests[key].seconds += seconds
        if not halt.hit:
            return moved
        for key in moved:
            self._release(key)
        return ()

    def request(self, key: int) -> Request:
        """Returns a request that has not left.

        Raises:
            DawnError: No such request is here.
        """
        try:
            return self._requests[key]
        except KeyError:
            raise DawnError(f"no request has the key {key!r}; it left or never joined") from None

    def _release(self, key: int) -> None:
        """Frees the place of a request, if it has one still."""
        request = self._inside.pop(key, None)
        if request is not None:
            request.row = self._batch.leave(key)


class Generation:
    """The requests of one call, from its beginning to its end.

    Args:
        engine: Runs the model.
        packer: Arrays of the same model.
        requests: What is wanted, at least one.
        prefixes: As for `Batch`.
    """

    def __init__(
        self,
        engine: Engine,
        packer: Packer,
        requests: Sequence[Request],
        prefixes: PrefixCache | None = None,
    ) -> None:
        self._batch = RequestBatch(begin_batch(engine, packer, requests, prefixes))
        self._requests = tuple(requests)
        self._keys = [self._batch.admit(request) for request in requests]

    def steps(self) -> Iterator[tuple[RowState, ...]]:
        """Yields the rows after every step; time between steps counts for the timeout alone."""
        while self._batch.step():
            yield tuple(self._batch.row(key) for key in self._keys)

    def cancel(self) -> None:
        """Stops all of them; see `Request.cancel`."""
        for request in self._requests:
            request.cancel()

    def results(self) -> list[Result]:
        """Runs what is left and returns one result for each request; times are the call's."""
        while self._batch.step():
            pass
        times = {"seconds": self._batch.seconds, "engine_seconds": self._batch.engine_seconds}
        return [request.result(**times) for request in self._requests]


@contextmanager
def _attended(requests: Sequence[Request], halt: Halt) -> Iterator[None]:
    """Lets requests stop the step that they are in, and their deadlines, when all have passed."""
    for request in requests:
        request.halt = halt
    left = [request.left for request in requests if request.left is not None]
    expire = partial(_expire, requests)
    timed = len(left) == len(requests)
    try:
        with WATCHDOG.after(max(left), expire) if timed else nullcontext():
            yield
    finally:
        for request in requests:
            request.halt = None


def _expire(requests: Sequence[Request]) -> None:
    for request in requests:
        request.stop("timeout")


def begin_batch(
    engine: Engine,
    packer: Packer,
    requests: Sequence[Request],
    prefixes: PrefixCache | None = None,
) -> Batch:
    """Returns a batch with room for some requests.

    Args:
        engine: Runs the model.
        packer: Arrays of the same model.
        requests: What will join, at least one.
        prefixes: As for `Batch`.
    """
    rows = sum(request.scheme.most_asks() for request in requests)
    longest = max(request.row.length for request in requests)
    tokens = rows * longest
    return open_batch(engine, packer, max_rows=rows, max_tokens=tokens, prefixes=prefixes)


def open_batch(
    engine: Engine,
    packer: Packer,
    *,
    max_rows: int,
    max_tokens: int,
    prefixes: PrefixCache | None = None,
) -> Batch:
    """Returns an empty batch; evidence stays on the device if the engine can leave it there.

    Both kinds decide the same: the kernels of `dawn_runtime.cuda` choose as the policies do, bit
    for bit.

    Args:
        engine: Runs the model.
        packer: Arrays of the same model.
        max_rows: As for `Batch`.
        max_tokens: As for `Batch`.
        prefixes: As for `Batch`.
    """
    if isinstance(engine, DeviceEngine):
        return DeviceBatch(
            engine, packer, max_rows=max_rows, max_tokens=max_tokens, prefixes=prefixes
        )
    return Batch(engine, packer, max_rows=max_rows, max_tokens=max_tokens, prefixes=prefixes)
