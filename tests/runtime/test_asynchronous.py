"""The decoder in asyncio: the same answers, and tasks whose cancelling ends the decoding."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from dawn_runtime import DawnError, Decoder, EngineError, OptionError, PromptError
from dawn_runtime.asynchronous import AsyncDecoder
from dawn_runtime.engine.fake import HashModel
from support.decoding import MANIFEST
from support.gate import PATIENCE, StoppableGate

T = TypeVar("T")
SLOW: dict[str, Any] = {"max_new_tokens": 6, "policy": "one-per-step", "stop_at_eos": False}


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, PATIENCE))


@pytest.fixture
def engine() -> StoppableGate:
    return StoppableGate(MANIFEST, HashModel(32, 3))


@pytest.fixture
def plain(engine: StoppableGate) -> Iterator[Decoder]:
    with Decoder(MANIFEST, engine) as opened:
        yield opened
        engine.open()


async def held(engine: StoppableGate) -> None:
    """Waits until a run is held at the gate."""
    await asyncio.get_running_loop().run_in_executor(None, engine.wait)


def test_answers_are_those_of_the_decoder(plain: Decoder) -> None:
    async def work() -> list[Any]:
        async with AsyncDecoder(plain, workers=2) as decoder:
            one = decoder.generate(input_ids=[1, 2], **SLOW)
            some = decoder.generate_batch([[1, 2], [3]], **SLOW)
            filled = decoder.fill(input_ids=[1, MANIFEST.tokens.mask, 2], policy="one-per-step")
            watched = [step async for step in decoder.watch(input_ids=[1, 2], **SLOW)]
            assert await decoder.warm_up(**SLOW) > 0
            return [*await asyncio.gather(one, some, filled), watched]

    one, some, filled, watched = run(work())
    other = Decoder(MANIFEST, StoppableGate(MANIFEST, HashModel(32, 3)))
    expected = other.generate(input_ids=[1, 2], **SLOW)
    assert one.trace == some[0].trace == expected.trace
    assert tuple(commit for step in watched for commit in step) == expected.trace
    assert len(filled.holes) == 1
    with pytest.raises(DawnError, match="closed"):
        plain.generate(input_ids=[1])


@pytest.mark.parametrize("batch", [False, True])
def test_cancelling_a_task_gives_up_the_run(
    batch: bool, engine: StoppableGate, plain: Decoder
) -> None:
    async def work() -> None:
        decoder = AsyncDecoder(plain)
        engine.shut()
        call: Any = (
            decoder.generate_batch([[1], [2]], **SLOW)
            if batch
            else decoder.generate(input_ids=[1], **SLOW)
        )
        task = asyncio.create_task(call)
        await held(engine)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine._held == 0, "the thread has let go before the task ends"
        assert engine.runs == 1
        engine.open()
        assert len((await decoder.generate(input_ids=[1], **SLOW)).tokens) == 6

    run(work())


def test_a_task_whose_turn_has_not_come_ends_at_once(engine: StoppableGate, plain: Decoder) -> None:
    async def work() -> None:
        decoder = AsyncDecoder(plain, workers=1)
        engine.shut()
        first = asyncio.create_task(decoder.generate(input_ids=[1], **SLOW))
        await held(engine)
        second = asyncio.create_task(decoder.generate(input_ids=[2], **SLOW))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        engine.open()
        assert (await first).finish_reason == "length"
        assert engine.runs == 6

    run(work())


def test_a_stream_whose_task_is_cancelled_keeps_what_there_is(
    engine: StoppableGate, plain: Decoder
) -> None:
    async def work() -> None:
        stream = AsyncDecoder(plain).watch(input_ids=[1, 2], **SLOW)
        first = await anext(stream)
        engine.shut()
        task = asyncio.create_task(anext(stream))  # type: ignore[arg-type]
        await held(engine)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        result = await stream.result()
        assert (result.finish_reason, result.trace) == ("cancelled", first)
        await stream.aclose()
        await stream.aclose()
        assert [step async for step in stream] == []

    run(work())


def test_leaving_a_stream_early_frees_it(engine: StoppableGate, plain: Decoder) -> None:
    async def work() -> int:
        async with AsyncDecoder(plain).watch(input_ids=[1, 2], **SLOW) as stream:
            async for _ in stream:
                break
        return (await stream.result()).forwards

    assert run(work()) == 1
    assert engine.runs == 1


def test_errors_come_to_who_awaits(plain: Decoder) -> None:
    async def work() -> None:
        decoder = AsyncDecoder(plain)
        with pytest.raises(OptionError, match="unknown policy: 'no'"):
            await decoder.generate(input_ids=[1], policy="no")
        with pytest.raises(PromptError):
            await anext(decoder.stream("text without a tokenizer"))

    run(work())
    with pytest.raises(OptionError, match="workers is 0"):
        AsyncDecoder(plain, workers=0)
    with pytest.raises(OptionError, match="expected an opened Decoder"):
        AsyncDecoder("folder")  # type: ignore[arg-type]


def test_closing_waits_for_what_is_under_way(engine: StoppableGate, plain: Decoder) -> None:
    async def work() -> str:
        decoder = AsyncDecoder(plain)
        engine.shut()
        task = asyncio.create_task(decoder.generate(input_ids=[1], **SLOW))
        await held(engine)
        threading.Timer(0.05, engine.open).start()
        await decoder.close()
        await decoder.close()
        return (await task).finish_reason

    assert run(work()) == "length"


def test_calls_after_its_end_are_the_error_of_a_closed_decoder(plain: Decoder) -> None:
    async def late() -> None:
        async with AsyncDecoder(plain) as decoder:
            pass
        with pytest.raises(EngineError, match="the decoder is closed; open the artifact again"):
            await decoder.generate(input_ids=[1, 2], **SLOW)

    run(late())
