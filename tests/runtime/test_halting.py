"""Runs that are given up: deadlines and cancellations inside of a step, and who is not hit."""

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Cancellation, Decoder, EngineError, OptionError, Result, StepInputs
from dawn_runtime.decoding import RowState
from dawn_runtime.engine.fake import HashModel
from dawn_runtime.halting import Halt, Watchdog, current_halt
from dawn_runtime.interruption import stoppable
from support.decoding import MANIFEST
from support.gate import PATIENCE, GatedEngine, StoppableGate

SLOW: dict[str, Any] = {"max_new_tokens": 6, "policy": "one-per-step", "stop_at_eos": False}
CALLS: dict[str, Any] = {
    "generate": lambda decoder, **how: [decoder.generate(input_ids=[1, 2], **how)],
    "batch": lambda decoder, **how: decoder.generate_batch([[1, 2], [3]], **how),
}


@pytest.fixture
def engine() -> StoppableGate:
    return StoppableGate(MANIFEST, HashModel(32, 3))


@pytest.fixture
def decoder(engine: StoppableGate) -> Iterator[Decoder]:
    with Decoder(MANIFEST, engine) as opened:
        yield opened
        engine.open()


def in_thread(call: Any, *arguments: Any, **settings: Any) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call(*arguments, **settings)))
    thread.start()
    return thread, found


def joined(thread: threading.Thread, found: list[Any]) -> Any:
    thread.join(PATIENCE)
    assert found, "the call did not come back"
    return found[0]


@pytest.mark.parametrize("call", CALLS)
def test_a_deadline_ends_a_run_that_does_not_end(
    call: str, engine: StoppableGate, decoder: Decoder
) -> None:
    engine.shut()
    results = CALLS[call](decoder, timeout=0.05, **SLOW)
    assert {one.finish_reason for one in results} == {"timeout"}
    assert [(one.forwards, one.trace) for one in results] == [(0, ())] * len(results)
    assert all(one.seconds >= 0.05 for one in results)
    engine.open()
    whole = CALLS[call](decoder, timeout=1e6, **SLOW)
    assert {one.finish_reason for one in whole} == {"length"}


@pytest.mark.parametrize("call", CALLS)
def test_cancelling_gives_up_the_run_and_keeps_what_was_decided_before(
    call: str, engine: StoppableGate, decoder: Decoder
) -> None:
    whole = CALLS[call](decoder, **SLOW)
    engine.shut()
    cancellation = Cancellation()
    thread, found = in_thread(CALLS[call], decoder, cancellation=cancellation, **SLOW)
    engine.wait()
    engine.let(2)
    engine.wait()
    cancellation.cancel()
    for result, full in zip(joined(thread, found), whole, strict=True):
        assert (result.finish_reason, result.forwards) == ("cancelled", 2)
        assert result.trace == full.trace[:2]
    assert CALLS[call](decoder, cancellation=cancellation, **SLOW)[0].forwards == 0


def test_an_engine_that_cannot_give_up_ends_its_run_and_the_step_counts() -> None:
    engine = GatedEngine(MANIFEST, HashModel(32, 3))
    decoder, cancellation = Decoder(MANIFEST, engine), Cancellation()
    engine.shut()
    thread, found = in_thread(CALLS["generate"], decoder, cancellation=cancellation, **SLOW)
    engine.wait()
    cancellation.cancel()
    engine.open()
    (result,) = joined(thread, found)
    assert (result.finish_reason, result.forwards) == ("cancelled", 1)


def test_a_stream_that_is_cancelled_gives_up_its_run(
    engine: StoppableGate, decoder: Decoder
) -> None:
    stream = decoder.watch(input_ids=[1, 2], **SLOW)
    first = next(stream)
    engine.shut()
    thread, found = in_thread(list, stream)
    engine.wait()
    stream.cancel()
    assert joined(thread, found) == []
    assert (stream.result.finish_reason, stream.result.trace) == ("cancelled", first)


def test_a_run_goes_on_while_anybody_in_it_wants_it(
    engine: StoppableGate, decoder: Decoder
) -> None:
    alone = decoder.generate(input_ids=[3], **SLOW)
    with decoder.batch() as batch:
        short = batch.admit(input_ids=[1, 2], timeout=0.01, **SLOW)
        long = batch.admit(input_ids=[3], **SLOW)
        engine.shut()
        timer = threading.Timer(0.1, engine.open)
        timer.start()
        batch.step()
        assert not batch.finished(long)
        batch.step()
        assert batch.finished(short)
        while not batch.finished(long):
            batch.step()
        assert batch.leave(short).finish_reason == "timeout"
        assert batch.leave(long).trace == alone.trace


def test_all_of_a_batch_that_are_stopped_end_in_one_step(
    engine: StoppableGate, decoder: Decoder
) -> None:
    with decoder.batch() as batch:
        keys = [batch.admit(input_ids=[one], **SLOW) for one in (1, 2)]
        batch.step()
        engine.shut()

        def cancel_all() -> None:
            engine.wait()
            for key in keys:
                batch.cancel(key)

        thread, _ = in_thread(cancel_all)
        events = batch.step()
        thread.join(PATIENCE)
        assert [(one.key, one.commits, one.finished) for one in events] == [
            (key, (), True) for key in keys
        ]
        assert [batch.leave(key).forwards for key in keys] == [1, 1]


def test_failures_of_the_engine_are_still_failures(engine: StoppableGate, decoder: Decoder) -> None:
    engine.failures = 1
    with pytest.raises(EngineError, match="on purpose"):
        decoder.generate(input_ids=[1], timeout=1e6, cancellation=Cancellation(), **SLOW)
    assert current_halt() is None


def test_the_cancellation_of_another_type_is_refused(decoder: Decoder) -> None:
    with pytest.raises(OptionError, match=r"cancellation is True; expected a Cancellation"):
        decoder.generate(input_ids=[1], cancellation=True, **SLOW)  # type: ignore[arg-type]


# What is left of an answer


def test_pieces_mark_the_gaps_of_an_answer_that_was_stopped(decoder: Decoder) -> None:
    result = decoder.generate(input_ids=[1, 2], max_forwards=3, **SLOW)
    decided = {one.position - 2: one.token for one in result.trace}
    assert len(decided) == 3
    covered = []
    for piece in result.pieces:
        here = range(piece.begin, piece.begin + piece.length)
        covered += here
        wanted = [decided[one] for one in here if one in decided]
        assert piece.tokens.tolist() == wanted
        assert piece.is_gap == (not wanted)
    assert covered == list(range(6))
    kinds = [piece.is_gap for piece in result.pieces]
    assert all(left != right for left, right in itertools.pairwise(kinds))
    assert decoder.generate(input_ids=[1, 2], **SLOW).pieces == ()


def row_of(ids: list[int], mask: int = 9, end: tuple[int, ...] = (8,)) -> RowState:
    row = RowState.begin(np.array([1, 1], dtype=np.int64), len(ids), mask, end)
    at = np.array([2 + n for n, one in enumerate(ids) if one != mask], dtype=np.int64)
    tokens = np.array([one for one in ids if one != mask], dtype=np.int64)
    sure, none = np.ones(len(at), dtype=np.float32), np.array([], dtype=np.int64)
    return row.advance(at, tokens, sure, none)


@pytest.mark.parametrize(
    ("ids", "runs"),
    [
        ([9, 9], ((2, 4),)),
        ([5, 9, 9, 5], ((2, 3), (3, 5), (5, 6))),
        ([9, 5, 5, 9], ((2, 3), (3, 5), (5, 6))),
        ([5, 9, 8, 9, 5], ((2, 3), (3, 4))),  # nothing behind an end token, settled or not
        ([8, 9], ()),
    ],
)
def test_runs_of_a_row(ids: list[int], runs: tuple[tuple[int, int], ...]) -> None:
    assert row_of(ids).runs() == runs


def test_marked_text_has_what_was_decided_behind_a_gap(artifact_folder: Any) -> None:
    from dawn_runtime.engine.fake import FakeEngine
    from support.text import TEXT_MANIFEST

    decoder = Decoder.open(artifact_folder, engine=FakeEngine(TEXT_MANIFEST))
    how: dict[str, Any] = {"policy": "one-per-step", "stop_at_eos": False}
    result: Result = decoder.generate("hi", max_new_tokens=8, max_forwards=2, **how)
    gaps = sum(piece.is_gap for piece in result.pieces)
    assert result.marked("|").count("|") == gaps
    assert result.marked("").startswith(result.text)
    whole = decoder.generate("hi", max_new_tokens=8, **how)
    assert whole.marked() == whole.text


# The parts


def test_a_run_that_nobody_wants_is_stopped_before_it_begins() -> None:
    stopped: list[bool] = []
    halt = Halt(lambda: True)

    def terminated() -> None:
        with stoppable(lambda: stopped.append(True)):
            raise EngineError(f"terminated {len(stopped)} time")

    with halt.watching(), pytest.raises(EngineError, match="terminated 1 time"):
        terminated()
    assert halt.hit
    halt.look()
    assert stopped == [True], "nothing runs any more"


def test_the_watchdog_calls_once_and_never_after_the_end() -> None:
    dog, called = Watchdog(), [threading.Event() for _ in range(3)]
    with dog.after(1e9, called[0].set), dog.after(0.02, called[1].set):
        assert called[1].wait(PATIENCE), "a later alarm holds back no earlier one"
        with dog.after(0, called[2].set):
            assert called[2].wait(PATIENCE)
    assert not called[0].is_set()
    assert not dog._alarms


# Other ways in


def test_warming_up_takes_two_steps_and_leaves_nothing(decoder: Decoder) -> None:
    engine = decoder._engine
    assert isinstance(engine, StoppableGate)
    assert decoder.warm_up(prompt_tokens=5, **SLOW) > 0
    assert engine.runs == 2
    with pytest.raises(OptionError, match="prompt_tokens is 0"):
        decoder.warm_up(prompt_tokens=0)


def test_onnx_runtime_gives_up_inside_a_run(exported: Any) -> None:
    folder = exported("dream")
    with Decoder.open(folder, threads=1) as decoder:
        engine = decoder._engine
        inputs = StepInputs(
            input_ids=np.ones((1, 8), dtype=np.int64),
            position_ids=np.arange(8, dtype=np.int64)[None],
            attention_mask=np.ones((1, 1, 8, 8), dtype=bool),
            logit_rows=np.arange(8, dtype=np.int64)[None],
            attention_rows=np.arange(8, dtype=np.int64)[None],
        )
        before = engine.run(inputs)
        unwanted = threading.Event()
        halt = Halt(unwanted.is_set)
        timer = threading.Timer(0.05, lambda: (unwanted.set(), halt.look()))
        timer.start()

        def run_on() -> None:
            while True:  # whichever run is under way then
                engine.run(inputs)

        with halt.watching(), pytest.raises(EngineError, match="terminate"):
            run_on()
        assert halt.hit
        np.testing.assert_array_equal(engine.run(inputs).tokens, before.tokens)
        done = decoder.generate(input_ids=[1] * 4, timeout=1e-9, max_new_tokens=8)
        assert done.finish_reason == "timeout"
