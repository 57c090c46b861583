"""`Decoder.batch`: requests that join and leave while others are under way."""

import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_runtime import (
    BatchFullError,
    DawnError,
    Decoder,
    EngineError,
    Event,
    Filling,
    OptionError,
    PromptError,
    Result,
)
from dawn_runtime.engine.fake import FakeEngine, HashModel, fake_manifest

MANIFEST = fake_manifest(vocab_size=32, max_length=96)
SHIPPED = Path(__file__).parent.parent.parent / "models" / "tiny-dream-int8"


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    with Decoder(MANIFEST, FakeEngine(MANIFEST, HashModel(32, 3))) as opened:
        yield opened


def run_to_the_end(batch: Any) -> list[Event]:
    told: list[Event] = []
    while events := batch.step():
        told += events
    return told


def same(left: Result, right: Result) -> bool:
    return bool(
        np.array_equal(left.tokens, right.tokens)
        and left.trace == right.trace
        and left.forwards == right.forwards
        and left.rows_fed == right.rows_fed
        and left.finish_reason == right.finish_reason
    )


def test_a_request_that_joins_late_gets_the_answer_it_gets_alone(decoder: Decoder) -> None:
    settings: list[dict[str, Any]] = [
        {"max_new_tokens": 20, "policy": "one-per-step", "cache": "dual", "block_length": 8},
        {"max_new_tokens": 9, "policy": "dawn", "fallback_length": 0},
        {"max_new_tokens": 16, "policy": "wino", "block_length": 8},
        {"max_new_tokens": 16, "policy": "freedave", "block_length": 8, "cache": "prefix"},
        {"max_new_tokens": 12, "policy": "klass", "temperature": 0.8, "seed": 7},
    ]
    keys = []
    with decoder.batch(max_rows=12, max_tokens=12 * 30) as batch:
        for number, one in enumerate(settings):
            keys.append(batch.admit(input_ids=[1 + number, 2, 3], **one))
            batch.step()
        run_to_the_end(batch)
        assert batch.keys == tuple(keys)
        results = [batch.leave(key) for key in keys]
        assert len(batch) == 0
    for number, (result, one) in enumerate(zip(results, settings, strict=True)):
        assert same(result, decoder.generate(input_ids=[1 + number, 2, 3], **one)), one


def test_events_tell_what_the_trace_holds_and_the_last_says_so(decoder: Decoder) -> None:
    with decoder.batch() as batch:
        keys = [batch.admit(input_ids=[4, 5], max_new_tokens=count) for count in (6, 14)]
        told = run_to_the_end(batch)
        for key in keys:
            own = [event for event in told if event.key == key]
            commits = [commit for event in own for commit in event.commits]
            assert tuple(commits) == batch.leave(key).trace
            assert [event.finished for event in own] == [False] * (len(own) - 1) + [True]


def test_tokens_that_are_taken_back_are_told(decoder: Decoder) -> None:
    options = {"threshold": 0.2, "revoke_threshold": 0.9}
    with decoder.batch() as batch:
        key = batch.admit(
            input_ids=[4, 5], max_new_tokens=24, policy="wino", options=options, block_length=12
        )
        open_, revoked = set(range(2, 26)), 0
        for event in run_to_the_end(batch):
            decided = {commit.position for commit in event.commits}
            assert decided <= open_
            assert not set(event.revoked) & open_
            open_ = (open_ - decided) | set(event.revoked)
            revoked += len(event.revoked)
        assert revoked > 0, "this test looks at a model that changes its mind"
        assert batch.finished(key)


def test_text_of_the_events_put_together_is_that_of_the_result() -> None:
    with Decoder.open(SHIPPED, threads=1) as decoder, decoder.batch() as batch:
        chat = [{"role": "user", "content": "Sort ascending: 47 61 56 21"}]
        keys = [batch.admit(messages=chat), batch.admit("What is", max_new_tokens=8)]
        told = run_to_the_end(batch)
        for key in keys:
            text = "".join(event.text for event in told if event.key == key)
            assert text == batch.leave(key).text
        filled = batch.admit(Filling(["dog", 2, " boat"]))
        run_to_the_end(batch)
        assert len(batch.leave(filled).holes) == 1


def test_leaving_before_the_end_gives_what_is_there(decoder: Decoder) -> None:
    with decoder.batch() as batch:
        key = batch.admit(input_ids=[1, 2], max_new_tokens=10, policy="one-per-step")
        for _ in range(4):
            batch.step()
        result = batch.leave(key)
    whole = decoder.generate(input_ids=[1, 2], max_new_tokens=10, policy="one-per-step")
    assert result.finish_reason == "cancelled"
    assert result.trace == whole.trace[:4]
    assert result.seconds > 0


def test_a_full_batch_refuses_with_an_error_of_its_own(decoder: Decoder) -> None:
    with decoder.batch(max_rows=2, max_tokens=60) as batch:
        first = batch.admit(input_ids=[1], max_new_tokens=29)
        batch.admit(input_ids=[1], max_new_tokens=9)
        with pytest.raises(BatchFullError, match=r"2 of 2 rows are taken.*let one leave first"):
            batch.admit(input_ids=[1], max_new_tokens=3)
        batch.leave(first)
        with pytest.raises(BatchFullError, match=r"2 rows of up to 40 tokens exceed the 60 tokens"):
            batch.admit(input_ids=[1], max_new_tokens=39)
        batch.admit(input_ids=[1], max_new_tokens=29)


@pytest.mark.parametrize("settings", [{"max_new_tokens": 60}, {"policy": "freedave"}])
def test_what_never_fits_is_another_error(decoder: Decoder, settings: Any) -> None:
    with (
        decoder.batch(max_rows=2, max_tokens=60) as batch,
        pytest.raises(OptionError, match=r"never fits a batch of 2 rows and 60 tokens"),
    ):
        batch.admit(input_ids=[1], **{"max_new_tokens": 2, **settings})


def test_limits_belong_to_a_request(decoder: Decoder) -> None:
    with decoder.batch() as batch:
        stopped = batch.admit(
            input_ids=[1], max_new_tokens=20, policy="one-per-step", max_forwards=3
        )
        timed = batch.admit(input_ids=[1], max_new_tokens=20, policy="one-per-step", timeout=0)
        whole = batch.admit(input_ids=[1], max_new_tokens=20, policy="one-per-step")
        run_to_the_end(batch)
        reasons = [batch.leave(key).finish_reason for key in (stopped, timed, whole)]
    assert reasons[:2] == ["max_forwards", "timeout"]
    assert reasons[2] in ("end", "length")


def test_a_cancelled_request_makes_room_at_the_next_step(decoder: Decoder) -> None:
    with decoder.batch(max_rows=1, max_tokens=40) as batch:
        key = batch.admit(input_ids=[1], max_new_tokens=20, policy="one-per-step")
        batch.step()
        thread = threading.Thread(target=batch.cancel, args=(key,))
        thread.start()
        thread.join()
        (event,) = batch.step()
        assert (event.key, event.commits, event.finished) == (key, (), True)
        assert batch.step() == ()
        batch.admit(input_ids=[1], max_new_tokens=20)
        assert batch.leave(key).finish_reason == "cancelled"


def test_another_thread_is_refused_in_one_line(decoder: Decoder) -> None:
    with decoder.batch() as batch, ThreadPoolExecutor(1) as pool:
        key = batch.admit(input_ids=[1], max_new_tokens=4)
        for call in (batch.step, lambda: batch.leave(key), lambda: batch.admit(input_ids=[1])):
            with pytest.raises(DawnError, match="belongs to the thread that opened it"):
                pool.submit(call).result()
        run_to_the_end(batch)
        assert batch.finished(key)


def test_bad_requests_are_refused_and_the_batch_goes_on(decoder: Decoder) -> None:
    with decoder.batch() as batch:
        key = batch.admit(input_ids=[1], max_new_tokens=4)
        with pytest.raises(OptionError, match="unknown policy"):
            batch.admit(input_ids=[1], policy="dwan")
        with pytest.raises(PromptError, match="exactly one"):
            batch.admit()
        with pytest.raises(OptionError, match="padding is that of the whole batch"):
            batch.admit(input_ids=[1], padding="left")
        run_to_the_end(batch)
        assert batch.leave(key).finish_reason in ("end", "length")
        for call in (batch.finished, batch.leave, batch.cancel):
            with pytest.raises(DawnError, match=f"no request has the key {key}"):
                call(key)


@pytest.mark.parametrize("bounds", [{"max_rows": 0}, {"max_tokens": 0}, {"max_rows": True}])
def test_bounds_are_checked(decoder: Decoder, bounds: Any) -> None:
    with pytest.raises(OptionError, match="batch: max_"):
        decoder.batch(**bounds)
    with pytest.raises(OptionError, match="padding"):
        decoder.batch(padding="middle")  # type: ignore[arg-type]


def test_closed_is_closed(decoder: Decoder) -> None:
    batch = decoder.batch()
    batch.admit(input_ids=[1], max_new_tokens=4)
    batch.close()
    batch.close()
    with pytest.raises(DawnError, match="the batch is closed"):
        batch.step()
    decoder.close()
    with pytest.raises(EngineError, match="closed"):
        decoder.batch()


def test_the_memory_for_keys_is_said_at_the_start(decoder: Decoder) -> None:
    info = decoder._engine.describe()
    with decoder.batch(max_rows=3, max_tokens=100) as batch:
        token = 2 * info.layers * info.kv_heads * info.head_dim * np.dtype(info.kv_dtype).itemsize
        assert 100 * token <= batch.kv_bytes_bound <= (100 + 3 * info.alignment) * token


def test_an_abandoned_batch_frees_its_memory_without_the_collector(decoder: Decoder) -> None:
    gc.disable()
    try:
        batch = decoder.batch()
        batch.admit(input_ids=[1], max_new_tokens=20, cache="dual", policy="one-per-step")
        batch.step()
        store = weakref.ref(batch._batch._batch._memory._store)  # type: ignore[union-attr]
        assert store() is not None
        del batch
        assert store() is None
    finally:
        gc.enable()


def test_a_request_that_was_prepared_elsewhere_gets_the_answer_it_gets_alone(
    decoder: Decoder,
) -> None:
    settings: Any = {"max_new_tokens": 9, "policy": "threshold"}
    with ThreadPoolExecutor(1) as other:
        request = other.submit(decoder.prepare, input_ids=[4, 5], **settings).result()
    with decoder.batch() as batch:
        key = batch.admit(request)
        told = run_to_the_end(batch)
        result = batch.leave(key)
    assert same(result, decoder.generate(input_ids=[4, 5], **settings))
    assert [token for event in told for token in event.tokens] == result.tokens.tolist()


def test_what_is_wrong_is_told_when_a_request_is_prepared(decoder: Decoder) -> None:
    with pytest.raises(OptionError, match="unknown policy"):
        decoder.prepare(input_ids=[1], policy="nonsense")
    with pytest.raises(PromptError, match="exceed the context"):
        decoder.prepare(input_ids=[1], max_new_tokens=96)
    with pytest.raises(OptionError, match="padding is that of the whole batch"):
        decoder.prepare(input_ids=[1], padding="left")
    request = decoder.prepare(input_ids=[1], max_new_tokens=2)
    with decoder.batch() as batch:
        with pytest.raises(OptionError, match=r"give them to Decoder\.prepare"):
            batch.admit(request, max_new_tokens=3)
        with pytest.raises(OptionError, match=r"give them to Decoder\.prepare"):
            batch.admit(request, input_ids=[1])
