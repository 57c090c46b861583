"""The one thread that owns the batch: joining, waiting, leaving, failing, stopping."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Decoder, EngineError, OptionError, Result
from dawn_runtime.engine.fake import HashModel, fake_manifest
from dawn_serve.edges import Bounds
from dawn_serve.errors import GoneError, QueueFullError, QueueTimeoutError, StoppingError
from dawn_serve.jobs import Job, Order, Update
from dawn_serve.scheduler import Scheduler
from support.gate import PATIENCE, GatedEngine

MANIFEST = fake_manifest(vocab_size=32, max_length=96)
MIXED: list[dict[str, Any]] = [
    {"max_new_tokens": 20, "policy": "one-per-step", "cache": "dual", "block_length": 8},
    {"max_new_tokens": 9, "policy": "dawn", "fallback_length": 0},
    {"max_new_tokens": 16, "policy": "wino", "block_length": 8},
    {"max_new_tokens": 12, "policy": "klass", "temperature": 0.8, "seed": 7},
    {"max_new_tokens": 12, "policy": "threshold", "guidance": 0.5},
]
SLOW: dict[str, Any] = {"max_new_tokens": 12, "policy": "one-per-step"}


@pytest.fixture
def engine() -> GatedEngine:
    return GatedEngine(MANIFEST, HashModel(32, 3))


@pytest.fixture
def decoder(engine: GatedEngine) -> Iterator[Decoder]:
    with Decoder(MANIFEST, engine) as opened:
        yield opened
        engine.open()


@pytest.fixture
def small(decoder: Decoder) -> Iterator[Scheduler]:
    """Two rows, two that may wait."""
    scheduler = Scheduler(decoder, Bounds(max_batch_size=2, max_queued_requests=2))
    yield scheduler
    decoder._engine.open()  # type: ignore[attr-defined]
    scheduler.close(PATIENCE)


def order(decoder: Decoder, number: int = 1, **settings: Any) -> Order:
    return Order(decoder.prepare(input_ids=[number, 2, 3], **(settings or SLOW)))


def answer(job: Job) -> Result:
    return job.done.result(PATIENCE).result


def same(left: Result, right: Result) -> bool:
    return bool(np.array_equal(left.tokens, right.tokens) and left.trace == right.trace)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_every_answer_is_the_one_that_its_order_gets_alone(decoder: Decoder) -> None:
    wanted = [(number, MIXED[number % len(MIXED)]) for number in range(25)]
    alone = [decoder.generate(input_ids=[n, 2, 3], **one) for n, one in wanted]
    with Scheduler(decoder, Bounds(max_batch_size=4)) as scheduler:
        jobs = [scheduler.submit([order(decoder, n, **one)])[0] for n, one in wanted]
        results = [answer(job) for job in jobs]
        assert scheduler.running == scheduler.waiting == 0
    assert all(map(same, results, alone))
    assert scheduler.state == "stopped"


def test_orders_come_from_any_thread(decoder: Decoder) -> None:
    alone = decoder.generate(input_ids=[1, 2, 3], **SLOW)
    found: list[Result] = []
    with Scheduler(decoder, Bounds(max_batch_size=3)) as scheduler:

        def ask() -> None:
            found.append(answer(scheduler.submit([order(decoder)])[0]))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert len(found) == 8
    assert all(same(one, alone) for one in found)


def test_orders_are_begun_in_the_order_in_which_they_came(
    decoder: Decoder, engine: GatedEngine
) -> None:
    begun: list[int] = []

    def watch(number: int) -> Callable[[Update], None]:
        return lambda update: None if update.step else begun.append(number)

    engine.shut()
    with Scheduler(decoder, Bounds(max_batch_size=2)) as scheduler:
        lengths = [3, 9, 4, 20, 1, 7]
        jobs = [
            scheduler.submit(
                [
                    Order(
                        order(decoder, max_new_tokens=n, policy="one-per-step").request,
                        (),
                        watch(i),
                    )
                ]
            )[0]
            for i, n in enumerate(lengths)
        ]
        engine.open()
        for job in jobs:
            answer(job)
    assert begun == sorted(begun)
    assert len(begun) == len(lengths)


def test_more_than_may_wait_are_refused_and_of_several_none_is_taken(
    small: Scheduler, decoder: Decoder, engine: GatedEngine
) -> None:
    engine.shut()
    jobs = small.submit([order(decoder), order(decoder), order(decoder)])
    with pytest.raises(QueueFullError, match=r"3 requests are decoded or waiting, of at most 4"):
        small.submit([order(decoder), order(decoder)])
    jobs += small.submit([order(decoder)])
    with pytest.raises(QueueFullError) as refused:
        small.check_room()
    assert 1 <= refused.value.retry_after <= 60
    engine.open()
    for job in jobs:
        answer(job)
    assert answer(small.submit([order(decoder)])[0]).finish_reason == "length"


def test_who_waits_too_long_is_told_while_a_step_lasts(
    decoder: Decoder, engine: GatedEngine
) -> None:
    engine.shut()
    with Scheduler(decoder, Bounds(max_batch_size=1, queue_timeout=0.1)) as scheduler:
        first = scheduler.submit([order(decoder)])[0]
        engine.wait()
        late = scheduler.submit([order(decoder)])[0]
        scheduler.expire()
        assert not late.done.done()
        time.sleep(0.11)
        scheduler.expire()
        with pytest.raises(QueueTimeoutError, match=r"waited 0\.1 s for room and was not begun"):
            late.done.result(0)
        engine.open()
        answer(first)
        with pytest.raises(QueueTimeoutError):
            answer(late)


def test_a_cancelled_job_leaves_within_one_step_and_its_place_is_taken_in_that_step(
    small: Scheduler, decoder: Decoder, engine: GatedEngine
) -> None:
    engine.shut()
    jobs = small.submit([order(decoder), order(decoder), order(decoder, 5)])
    engine.let(3)
    engine.wait()  # the fourth run is under way
    small.cancel(jobs[0])
    assert not jobs[0].done.done()
    engine.let(1)
    outcome = jobs[0].done.result(PATIENCE)
    assert outcome.finish == outcome.result.finish_reason == "cancelled"
    assert outcome.result.forwards == 4, "no more than the one that was under way"
    engine.wait()
    assert engine.runs == 5
    assert small.running == 2
    assert small.waiting == 0
    engine.open()
    assert same(answer(jobs[2]), decoder.generate(input_ids=[5, 2, 3], **SLOW))


def test_a_waiting_job_that_is_cancelled_is_gone_at_once(
    small: Scheduler, decoder: Decoder, engine: GatedEngine
) -> None:
    engine.shut()
    jobs = small.submit([order(decoder) for _ in range(3)])
    engine.wait()
    small.cancel(jobs[2])
    with pytest.raises(GoneError):
        jobs[2].done.result(0)
    small.submit([order(decoder), order(decoder)])  # its place is free


def test_an_order_that_never_fits_fails_alone(decoder: Decoder) -> None:
    with Scheduler(decoder, Bounds(max_batch_size=2, max_batch_tokens=40)) as scheduler:
        bad, good = scheduler.submit([order(decoder, max_new_tokens=60), order(decoder)])
        with pytest.raises(OptionError, match=r"never fits a batch of 2 rows and 40 tokens"):
            answer(bad)
        assert answer(good).finish_reason == "length"


def test_updates_put_together_are_the_answer(decoder: Decoder) -> None:
    seen: list[Update] = []
    request = decoder.prepare(input_ids=[1, 2, 3], max_new_tokens=24, policy="wino")
    with Scheduler(decoder) as scheduler:
        job = scheduler.submit([Order(request, (), seen.append)])[0]
        outcome = job.done.result(PATIENCE)
    assert seen[0] == Update()
    assert [update.step for update in seen] == list(range(len(seen)))
    tokens = [token for update in seen for token in update.tokens]
    assert tokens == list(outcome.tokens) == outcome.result.tokens.tolist()
    sure = {commit.position: commit.confidence for commit in outcome.result.trace}
    assert outcome.confidences == tuple(sure[3 + n] for n in range(len(tokens)))
    assert outcome.text is None
    assert outcome.queued >= 0


def test_a_watcher_that_fails_harms_nobody(decoder: Decoder) -> None:
    def fails(_: Update) -> None:
        raise RuntimeError("gone")

    with Scheduler(decoder) as scheduler:
        watched = Order(decoder.prepare(input_ids=[1, 2, 3], **SLOW), (), fails)
        for job in scheduler.submit([watched, order(decoder)]):
            assert answer(job).finish_reason == "length"


def test_a_run_that_fails_once_is_tried_again(
    small: Scheduler, decoder: Decoder, engine: GatedEngine
) -> None:
    alone = decoder.generate(input_ids=[1, 2, 3], **SLOW)
    engine.failures = 1
    assert same(answer(small.submit([order(decoder)])[0]), alone)
    assert "dawn_engine_failures_total 1" in small.metrics.render(
        {"dawn_running": 0, "dawn_waiting": 0}
    )


def test_a_run_that_fails_twice_ends_what_is_in_the_batch_and_nothing_else(
    small: Scheduler, decoder: Decoder, engine: GatedEngine
) -> None:
    engine.shut()
    jobs = small.submit([order(decoder) for _ in range(4)])
    engine.wait()
    engine.failures = 2
    engine.open()
    for job in jobs[:2]:
        with pytest.raises(EngineError, match="fails on purpose"):
            answer(job)
    for job in jobs[2:]:
        assert answer(job).finish_reason == "length"
    assert small.state == "running"


def test_a_decoder_that_is_closed_leaves_nobody_waiting(
    decoder: Decoder, engine: GatedEngine
) -> None:
    scheduler = Scheduler(decoder, Bounds(max_batch_size=1))
    engine.shut()
    jobs = scheduler.submit([order(decoder), order(decoder)])
    engine.wait()
    decoder.close()
    engine.failures = 2
    engine.open()
    for job in jobs:
        with pytest.raises(EngineError):
            answer(job)
    until(lambda: scheduler.state == "failed")
    with pytest.raises(StoppingError):
        scheduler.check_room()


def test_stopping_lets_what_is_begun_end_and_refuses_the_rest(
    small: Scheduler, decoder: Decoder, engine: GatedEngine
) -> None:
    alone = decoder.generate(input_ids=[1, 2, 3], **SLOW)
    engine.shut()
    jobs = small.submit([order(decoder) for _ in range(3)])
    engine.wait()
    small.drain(PATIENCE)
    with pytest.raises(StoppingError, match="was not begun"):
        jobs[2].done.result(0)
    with pytest.raises(StoppingError, match="takes no more requests"):
        small.submit([order(decoder)])
    engine.open()
    assert all(same(answer(job), alone) for job in jobs[:2])
    until(lambda: small.state == "stopped")


def test_what_is_not_done_in_time_ends_with_what_there_is(
    small: Scheduler, decoder: Decoder, engine: GatedEngine
) -> None:
    engine.shut()
    job = small.submit([order(decoder)])[0]
    engine.let(2)
    engine.wait()
    small.drain(0)
    engine.let(1)
    outcome = job.done.result(PATIENCE)
    assert outcome.finish == "cancelled"
    assert len(outcome.result.trace) == 3


def test_limits_of_a_request_say_why_it_ends(small: Scheduler, decoder: Decoder) -> None:
    few = small.submit([order(decoder, **SLOW, max_forwards=2)])[0].done.result(PATIENCE)
    assert few.finish == "length"
    assert few.result.finish_reason == "max_forwards"
    none = small.submit([order(decoder, **SLOW, timeout=0)])[0].done.result(PATIENCE)
    assert none.finish == "timeout"
