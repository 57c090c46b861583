"""Streams of text and of decisions, and answers that are stopped before they are done."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dawn_runtime import DawnError, Decoder, EngineError, OptionError
from dawn_runtime.cuda import CudaDevice
from dawn_runtime.decoding import KvStore
from dawn_runtime.engine.fake import FakeEngine, fake_manifest
from dawn_runtime.generation import Generation
from support.device_engine import HostEngine
from support.fake_driver import FakeDriver
from support.text import TEXT_MANIFEST

SLOW: Any = {"max_new_tokens": 12, "policy": "one-per-step", "stop_at_eos": False}


def speaking(ids: np.ndarray, prompt: int) -> Callable[..., Any]:
    """A model that says these ids, more surely from left to right."""

    def model(tokens: Any, positions: Any, key_tokens: Any, *_: Any) -> Any:
        logits = np.zeros((len(tokens), 259), dtype=np.float32)
        said = np.clip(positions - prompt, 0, len(ids) - 1)
        logits[np.arange(len(tokens)), ids[said]] = 9 - said / 10
        return logits, np.full((len(tokens), len(key_tokens)), 0.01, dtype=np.float32)

    return model


@pytest.fixture
def decoder(artifact_folder: Path) -> Decoder:
    return Decoder.open(artifact_folder, engine=FakeEngine(TEXT_MANIFEST))


@pytest.fixture
def umlauts(artifact_folder: Path, decoder: Decoder) -> Decoder:
    """Says `aöbü€` after a prompt of one token; one token for each byte."""
    ids = decoder._reader.text_tokenizer().encode("aöbü€")
    return Decoder.open(artifact_folder, engine=FakeEngine(TEXT_MANIFEST, speaking(ids, 1)))


def test_watching_shows_the_decisions_of_every_step(fake_decoder: Decoder) -> None:
    rules: Any = {"max_new_tokens": 20, "policy": "threshold", "options": {"threshold": 0.5}}
    stream = fake_decoder.watch(input_ids=[1, 2], **rules)
    steps = list(stream)
    expected = fake_decoder.generate(input_ids=[1, 2], **rules)
    assert tuple(commit for step in steps for commit in step) == expected.trace
    assert [{commit.step for commit in step} for step in steps] == [{i} for i in range(len(steps))]
    assert stream.result.trace == expected.trace
    assert len(steps) == expected.forwards


def test_cancelling_leaves_what_is_there(decoder: Decoder) -> None:
    stream = decoder.watch("hi", **SLOW)
    seen = [next(stream), next(stream), next(stream)]
    stream.cancel()
    assert list(stream) == []
    result = stream.result
    assert (result.finish_reason, result.forwards) == ("cancelled", 3)
    assert result.trace == tuple(commit for step in seen for commit in step)
    whole = decoder.generate("hi", **SLOW)
    assert whole.trace[:3] == result.trace
    assert result.tokens.tolist() == whole.tokens[: len(result.tokens)].tolist()


def test_cancelling_a_finished_answer_changes_nothing(decoder: Decoder) -> None:
    stream = decoder.stream("hi", **SLOW)
    text = "".join(stream)
    stream.cancel()
    assert (stream.result.finish_reason, stream.result.text) == ("length", text)


def test_an_answer_that_never_began_is_empty(decoder: Decoder) -> None:
    for limits in ({"timeout": 0}, {"max_forwards": 0}):
        result = decoder.generate("hi", **SLOW, **limits)
        assert (result.text, result.tokens.tolist(), result.trace) == ("", [], ())
        assert (result.forwards, result.tokens_per_forward) == (0, 0)
        assert result.finish_reason == next(iter(limits))


def test_the_number_of_forwards_is_limited_for_each_answer(decoder: Decoder) -> None:
    rules: Any = {"policy": "one-per-step", "stop_at_eos": False, "max_forwards": 5}
    short, long = (decoder.generate("hi", max_new_tokens=n, **rules) for n in (4, 9))
    assert (short.finish_reason, short.forwards) == ("length", 4)
    assert (long.finish_reason, long.forwards, len(long.trace)) == ("max_forwards", 5, 5)
    filled = decoder.fill(["ab", 4, "cd", 4], policy="one-per-step", max_forwards=4, block_length=1)
    assert [len(hole.tokens) for hole in filled.holes] == [4, 0]
    assert filled.finish_reason == "max_forwards"


def test_time_out_is_looked_at_before_every_step(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def tick() -> float:
        now[0] += 1
        return now[0]

    for module in ("generation", "request"):
        monkeypatch.setattr(f"dawn_runtime.{module}.time", SimpleNamespace(perf_counter=tick))
    result = decoder.generate("hi", **SLOW, timeout=7.5)
    assert result.finish_reason == "timeout"
    assert result.forwards == 3, "three readings of the clock in a step: at 1, 4, 7 and then 10"
    assert decoder.generate("hi", **SLOW, timeout=1e6).finish_reason == "length"


@pytest.mark.parametrize("forwards", range(1, 11))
def test_text_never_holds_half_a_character(forwards: int, umlauts: Decoder) -> None:
    rules: Any = {"max_new_tokens": 9, "policy": "one-per-step", "max_forwards": forwards}
    stream = umlauts.stream(input_ids=[1], **rules)
    text = "".join(stream)
    assert text == stream.result.text == umlauts.generate(input_ids=[1], **rules).text
    assert len(stream.result.tokens) == min(forwards, 9)
    assert text == "aöbü€".encode()[: min(forwards, 9)].decode(errors="ignore")


def test_iterating_after_the_result_gives_nothing_more(decoder: Decoder) -> None:
    stream = decoder.watch("hi", **SLOW, cache="dual")
    next(stream)
    assert stream.result.forwards == 12
    assert list(stream) == []


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"timeout": -1}, "limit: timeout is -1; expected a number from 0"),
        ({"timeout": "1s"}, "timeout is '1s'"),
        ({"max_forwards": -1}, "limit: max_forwards is -1; expected an integer >= 0"),
        ({"max_forwards": 1.5}, "max_forwards is 1.5"),
    ],
)
def test_bad_limit_is_named(limits: Any, message: str, decoder: Decoder) -> None:
    with pytest.raises(OptionError, match=message):
        decoder.generate("hi", **limits)


def abandon(kind: str, decoder: Any) -> None:
    stream = getattr(decoder, kind)("hi", **SLOW, cache="dual", fallback_length=0)
    next(stream)


@pytest.mark.parametrize("kind", ["stream", "watch"])
def test_an_abandoned_stream_is_freed_at_once(kind: str, decoder: Decoder) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()

    class Kept(KvStore):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            alive.add(self)

    gc.collect()
    gc.disable()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dawn_runtime.decoding.memory.KvStore", Kept)
            patch.setattr("dawn_runtime.decoder.Generation", counted(Generation, alive))
            for _ in range(5):
                abandon(kind, decoder)
                assert not alive, "without the garbage collector"
    finally:
        gc.enable()


def counted(cls: Any, alive: Any) -> Any:
    def make(*arguments: Any, **rest: Any) -> Any:
        made = cls(*arguments, **rest)
        alive.add(made)
        return made

    return make


@pytest.mark.parametrize("policy", ["dawn", "threshold"])
def test_memory_of_a_device_comes_back_from_an_abandoned_stream(
    policy: str, driver: FakeDriver
) -> None:
    manifest = fake_manifest(vocab_size=32)
    engine = HostEngine(FakeEngine(manifest), CudaDevice(driver=driver))  # type: ignore[arg-type]
    decoder = Decoder(manifest, engine)
    rules: dict[str, Any] = {"max_new_tokens": 60, "policy": policy, "fallback_length": 0}
    rules["cache"] = "dual"  # the keys are what belongs to a stream; what chooses is the engine's
    decoder.generate(input_ids=[1, 2, 3], **rules)
    engine.runs.clear()
    gc.collect()
    gc.disable()
    try:
        for end in ("abandon", "close", "exhaust", "with"):
            before = len(driver.memory)
            stream = decoder.watch(input_ids=[1, 2, 3], **rules)
            next(stream)
            # Keys take what the answer before has left; one that kept it would cost the next.
            assert len(driver.memory) == before, end
            if end == "abandon":
                del stream
            elif end == "close":
                stream.close()
            elif end == "exhaust":
                assert list(stream)
            else:
                with stream:
                    next(stream)
            engine.runs.clear()  # it remembers the keys that it was given
            assert len(driver.memory) == before, end
    finally:
        gc.enable()


def test_a_closed_stream_keeps_its_result_and_gives_nothing_more(decoder: Decoder) -> None:
    with decoder.watch("hi", **SLOW) as stream:
        seen = [next(stream), next(stream)]
    stream.close()
    stream.cancel()
    assert list(stream) == []
    assert (stream.result.finish_reason, stream.result.forwards) == ("cancelled", 2)
    assert stream.result.trace == tuple(commit for step in seen for commit in step)
    finished = decoder.watch("hi", **SLOW)
    steps = list(finished)
    finished.close()
    assert (finished.result.finish_reason, len(steps)) == ("length", finished.result.forwards)


def test_a_stream_that_cannot_be_ended_properly_says_why_and_is_closed(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = decoder.watch("hi", **SLOW)
    next(stream)

    def lost(_: Any) -> Any:
        raise EngineError("cuda: the device is lost")

    monkeypatch.setattr(Generation, "results", lost)
    with pytest.raises(EngineError, match="the device is lost"):
        stream.close()
    assert list(stream) == []
    with pytest.raises(DawnError, match="closed after an error, so it has no result"):
        stream.result  # noqa: B018
