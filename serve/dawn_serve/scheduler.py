"""The one thread that owns the batch: orders join and leave between steps.

    with Scheduler(decoder, Bounds(max_batch_size=8)) as scheduler:
        job = scheduler.submit([Order(decoder.prepare("What is 3 + 4?"))])[0]
        print(job.done.result().text)

Whoever submits may be any thread. Orders are begun in the order in which they came; how many may
wait, and how long, is bounded. A job that nobody wants any more leaves before the next step, and
its place is free for the next order in that same step.

If the engine fails, a step is tried once more; if it fails again, all that are in the batch end
with that error, and the next orders begin in a batch of their own.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Literal

from dawn_runtime import BatchFullError, DawnError, Decoder, EngineError, OpenBatch
from dawn_serve.edges import Bounds
from dawn_serve.errors import GoneError, QueueFullError, QueueTimeoutError, StoppingError
from dawn_serve.jobs import Job, Order
from dawn_serve.metrics import Metrics

State = Literal["running", "stopping", "stopped", "failed"]
"""What a scheduler is about; only one that is running takes orders."""

_NEVER: Final = 1e18
_MOST_RETRY: Final = 60
_REMEMBERED: Final = 32
"""Answers whose time is remembered, to guess how long it takes until there is room."""


class Scheduler:
    """Orders of many, one batch; see the module.

    Args:
        decoder: Decodes them; others may use it beside.
        bounds: How much is taken in.
        metrics: Counts what happens.
    """

    def __init__(
        self, decoder: Decoder, bounds: Bounds | None = None, metrics: Metrics | None = None
    ) -> None:
        self.bounds = bounds or Bounds()
        self.metrics = metrics or Metrics()
        self._decoder = decoder
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._inside: dict[int, Job] = {}
        self._house = 0
        self._state: State = "running"
        self._until = _NEVER
        self._failures = 0
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)
        self._thread = threading.Thread(target=self._main, name="dawn-scheduler", daemon=True)
        self._thread.start()

    @property
    def state(self) -> State:
        """What it is about."""
        return self._state

    @property
    def waiting(self) -> int:
        """How many orders wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many are in the batch."""
        return len(self._inside)

    def submit(self, orders: Sequence[Order]) -> list[Job]:
        """Takes some orders, all or none; they are begun as soon as there is room.

        Args:
            orders: At least one.

        Returns:
            A job for each, in their order.

        Raises:
            QueueFullError: Too many wait.
            StoppingError: Nothing is taken any more.
        """
        now = time.monotonic()
        with self._changed:
            self.check_room(len(orders))
            jobs = [Job(order, self._decoder.tokenizer, now) for order in orders]
            self._waiting += jobs
            self._house += len(jobs)
            self._changed.notify_all()
        return jobs

    def check_room(self, count: int = 1) -> None:
        """Tells early, before a prompt is read, that an order would not be taken now.

        Args:
            count: How many orders.

        Raises:
            QueueFullError: Too many wait.
            StoppingError: Nothing is taken any more.
        """
        if self._state != "running":
            raise StoppingError("the server is stopping and takes no more requests; try another")
        room = self.bounds.max_batch_size + self.bounds.max_queued_requests
        if self._house + count > room:
            self.metrics.add("dawn_refused_total", count, reason="queue full")
            raise QueueFullError(
                f"{self._house} requests are decoded or waiting, of at most {room}; try again "
                "later",
                self.retry_after(),
            )

    def retry_after(self) -> int:
        """Guesses the seconds until there is room, 1 to 60."""
        known = tuple(self._seconds)
        mean = sum(known) / len(known) if known else 1.0
        turns = (len(self._waiting) + 1) / self.bounds.max_batch_size
        return max(1, min(_MOST_RETRY, round(mean * turns + 0.5)))

    def cancel(self, job: Job) -> None:
        """Ends a job that nobody wants any more: at once, or with the step that is under way.

        That step is given up if no other job is in it and the engine can do so.
        """
        job.order.request.cancel()
        with self._changed:
            job.cancelled = True
            is_waiting = job in self._waiting
            if is_waiting:
                self._waiting.remove(job)
            self._changed.notify_all()
        if is_waiting:
            self._refuse(job, GoneError("the request was cancelled before it was begun"))

    def expire(self) -> None:
        """Ends the orders that have waited too long.

        Done between steps anyway; who wants it on the second, where steps are long, calls it then.
        """
        oldest = time.monotonic() - self.bounds.queue_timeout
        with self._changed:
            late = [job for job in self._waiting if job.since <= oldest]
            for job in late:
                self._waiting.remove(job)
        for job in late:
            message = (
                f"the request waited {self.bounds.queue_timeout:g} s for room and was not begun; "
                "try again later"
            )
            self._refuse(job, QueueTimeoutError(message, self.retry_after()))

    def drain(self, grace: float) -> None:
        """Takes nothing new, refuses what waits, and lets what is in the batch come to its end.

        Args:
            grace: Seconds after which what is left ends with what there is of it; with 0 also the
                step that is under way is given up, where the engine can do so.
        """
        with self._changed:
            if self._state == "running":
                self._state = "stopping"
            self._until = min(self._until, time.monotonic() + grace)
            self._changed.notify_all()
        if grace <= 0:
            for job in tuple(self._inside.values()):
                job.order.request.cancel()
        self._refuse_all()

    def close(self, timeout: float | None = None) -> None:
        """Ends all there is with what there is of it, and the thread with it.

        Args:
            timeout: Seconds to wait for the step that is under way; None waits for its end.
        """
        self.drain(0)
        self._thread.join(timeout)

    def __enter__(self) -> "Scheduler":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _main(self) -> None:
        """The thread: a batch, and another one should something go wrong with it."""
        try:
            while self._state == "running" or self._inside:
                bounds = self.bounds
                tokens = bounds.tokens(self._decoder.manifest.dims.max_length)
                with self._decoder.batch(
                    max_rows=bounds.max_batch_size, max_tokens=tokens
                ) as batch:
                    self._use(batch)
            self._end("stopped", StoppingError("the server has stopped"))
        except BaseException as error:  # there is no batch to be had
            self._end("failed", error)

    def _use(self, batch: OpenBatch) -> None:
        """Serves until there is nothing left to do, or the batch is of no use any more."""
        try:
            while self._has_work():
                self._dismiss(batch)
                self._admit(batch)
                self.expire()
                if self._inside and not self._step(batch):
                    return
        except Exception as error:
            if not self._inside:
                raise
            self._fail_all(error)

    def _has_work(self) -> bool:
        """Waits for something to do; False when all is done and nothing new will come."""
        with self._changed:
            while not self._waiting and not self._inside and self._state == "running":
                self._changed.wait()
            return bool(self._waiting or self._inside)

    def _dismiss(self, batch: OpenBatch) -> None:
        """Lets those leave that nobody wants, or for which there is no time left."""
        over = self._state != "running" and time.monotonic() >= self._until
        for key, job in list(self._inside.items()):
            if over or job.cancelled:
                self._finish(batch, key)

    def _admit(self, batch: OpenBatch) -> None:
        """Begins orders, the first first, as long as there is room."""
        if self._state != "running":
            self._refuse_all()
        while (job := self._next()) is not None:
            if job.cancelled:
                self._refuse(job, GoneError("the request was cancelled before it was begun"))
                continue
            try:
                key = batch.admit(job.order.request)
            except BatchFullError:
                with self._changed:
                    self._waiting.appendleft(job)
                return
            except DawnError as error:
                self._refuse(job, error)
                continue
            self._inside[key] = job
            job.join(time.monotonic())
            self.metrics.observe("dawn_queue_seconds", job.queued)

    def _next(self) -> Job | None:
        with self._changed:
            return self._waiting.popleft() if self._waiting else None

    def _step(self, batch: OpenBatch) -> bool:
        """Takes a step; returns False if the batch is of no use any more."""
        try:
            events = batch.step()
        except EngineError as error:
            self.metrics.add("dawn_engine_failures_total")
            self._failures += 1
            if self._failures == 1:
                return True
            self._failures = 0
            self._fail_all(error)
            return False
        self._failures = 0
        self.metrics.add("dawn_steps_total")
        for event in events:
            if self._inside[event.key].take(event):
                self._finish(batch, event.key)
        return True

    def _finish(self, batch: OpenBatch, key: int) -> None:
        """Lets a job leave with what there is."""
        job, result = self._inside.pop(key), batch.leave(key)
        seconds = time.monotonic() - job.since
        self._seconds.append(seconds - job.queued)
        self._leave_house()
        outcome = job.conclude(result)
        self.metrics.observe("dawn_answer_seconds", seconds)
        self.metrics.add("dawn_answers_total", reason=outcome.finish)
        self.metrics.add("dawn_prompt_tokens_total", result.prompt_tokens)
        self.metrics.add("dawn_answer_tokens_total", len(outcome.tokens))
        self.metrics.add("dawn_rows_fed_total", result.rows_fed)
        job.finish(outcome)  # last: who has an answer finds it counted

    def _refuse(self, job: Job, error: DawnError) -> None:
        """Ends a job that was not begun."""
        self._leave_house()
        self.metrics.add("dawn_refused_total", reason=_REASONS.get(type(error), "bad request"))
        job.fail(error)

    def _refuse_all(self) -> None:
        """Ends all that wait."""
        with self._changed:
            late = list(self._waiting)
            self._waiting.clear()
        for job in late:
            self._refuse(job, StoppingError("the server is stopping; the request was not begun"))

    def _fail_all(self, error: BaseException) -> None:
        """Ends all that are in the batch with an error."""
        jobs = list(self._inside.values())
        self._inside.clear()
        for job in jobs:
            self._leave_house()
            self.metrics.add("dawn_answers_total", reason="error")
            job.fail(error)

    def _leave_house(self) -> None:
        with self._changed:
            self._house -= 1

    def _end(self, state: State, error: BaseException) -> None:
        """The end of the thread: nothing is left without an answer."""
        with self._changed:
            self._state = state
            late = list(self._waiting)
            self._waiting.clear()
        self._fail_all(error)
        for job in late:
            self._leave_house()
            job.fail(error)


_REASONS: Final[dict[type[DawnError], str]] = {
    GoneError: "gone",
    QueueTimeoutError: "queue timeout",
    StoppingError: "stopping",
}
