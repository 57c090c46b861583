"""Mixed requests that join and leave at random: every answer is that of its single run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dawn_runtime import (
    Artifact,
    Blocks,
    Dapd,
    Dual,
    Engine,
    Factor,
    LocalLeap,
    OnePerStep,
    Pruned,
    Single,
    Sliding,
    Threshold,
    open_engine,
)
from dawn_runtime.cuda import Device
from dawn_runtime.decoding import CACHES, Batch, Packer, RowState, Sampling, Scheme, Unmask
from dawn_runtime.decoding.sampling import GREEDY
from dawn_runtime.decoding.schemes import FreeDave, Wino
from dawn_runtime.engine.fake import FakeEngine, HashModel
from dawn_runtime.errors import BatchFullError
from dawn_runtime.generation import RequestBatch, open_batch
from dawn_runtime.request import Limits, Request
from support.decoding import DAWN, KLASS, MANIFEST, POLICIES, SCALED, begin, finished, same_row
from support.device_engine import HostEngine

SCHEDULES, TESTS = 200, 10
ROWS = 8
CACHE_NAMES = ["none", "prefix", "dual", "dual:refresh=never", "prefix:refresh=2"]
CACHE_NAMES += ["dual:feed=undecided", "prefix:refresh=4,feed=undecided,head=candidates"]
WINDOWS = [Blocks(4), Blocks(6), Single(), Sliding(5), Pruned(4, near=2)]
SAMPLINGS = [GREEDY, GREEDY, GREEDY, Sampling(0.8, seed=5), Sampling(1.0, top_k=6, seed=1)]


@dataclass(frozen=True)
class Model:
    """What rows of a schedule have in common."""

    engine: Engine
    mask: int
    ends: tuple[int, ...]
    shift: int
    most_new: int
    policies: list[Any]

    def batch(self, rows: int, tokens: int) -> Batch:
        packer = Packer(0, alignment=self.engine.describe().alignment)
        return open_batch(self.engine, packer, max_rows=rows, max_tokens=tokens)

    def alone(self, row: RowState, scheme: Scheme, steps: int) -> RowState:
        """The same row after so many steps on its own."""
        batch = self.batch(scheme.most_asks(), scheme.most_asks() * row.length)
        key = batch.admit(row, scheme)
        for _ in range(steps):
            batch.step()
        return batch.leave(key)


def random_scheme(rng: np.random.Generator, model: Model) -> Scheme:
    def one(values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    kind = rng.random()
    if kind < 0.15 and not model.shift:
        return Wino(
            float(rng.uniform(0.2, 0.7)), float(rng.uniform(0.2, 0.9)), window=one(WINDOWS[:3])
        )
    if kind < 0.35:
        drafts, threshold = int(rng.integers(1, 5)), one([0.0, 0.0, 0.7])
        return FreeDave(drafts, threshold, one(WINDOWS[:3]), CACHES.parse(one(CACHE_NAMES[:3])))
    cache = CACHES.parse(one(CACHE_NAMES))
    return Unmask(one(model.policies), one(WINDOWS), cache, one(SAMPLINGS))


def random_row(rng: np.random.Generator, model: Model) -> RowState:
    prompt = rng.integers(1, 20, int(rng.integers(1, 7)))
    ends = model.ends if rng.random() < 0.5 else ()
    new = int(rng.integers(1, model.most_new))
    return RowState.begin(prompt, new, model.mask, ends, shift=model.shift)


def play(model: Model, rng: np.random.Generator) -> Iterator[tuple[RowState, RowState, Scheme]]:
    """Plays a schedule; yields how each row began and left, and its scheme."""
    waiting = [(random_row(rng, model), random_scheme(rng, model)) for _ in range(6)]
    inside: dict[int, tuple[RowState, Scheme]] = {}
    batch = model.batch(ROWS, ROWS * (7 + model.most_new))
    while waiting or inside:
        while waiting and (not inside or rng.random() < 0.5):
            try:
                key = batch.admit(*waiting[-1])
            except BatchFullError:
                assert inside, "an empty batch takes any of these"
                break
            inside[key] = waiting.pop()
        batch.step()
        for key in tuple(inside):
            if batch.is_finished(key) or rng.random() < 0.04:
                row, scheme = inside.pop(key)
                yield row, batch.leave(key), scheme
    assert not batch.rows


def on_fake(engine: Engine, shift: int) -> Model:
    return Model(engine, MANIFEST.tokens.mask, MANIFEST.tokens.eos, shift, 14, POLICIES)


def compare(batched: Model, single: Model, rng: np.random.Generator) -> int:
    """Plays a schedule against single runs; returns how many rows left before their end."""
    early = 0
    for row, left, scheme in play(batched, rng):
        alone = single.alone(row, scheme, left.step)
        assert same_row(left, alone), scheme
        assert (left.fed, left.final, left.finished) == (alone.fed, alone.final, alone.finished)
        early += not left.finished
    return early


@pytest.mark.parametrize("seed", range(TESTS))
def test_every_answer_of_a_schedule_is_that_of_its_single_run(seed: int) -> None:
    rng = np.random.default_rng(seed)
    early = 0
    for number in range(SCHEDULES // TESTS):
        model = on_fake(FakeEngine(MANIFEST, HashModel(32, number)), number % 2)
        early += compare(model, model, rng)
    assert early > 3, "some leave before their end"


@pytest.mark.parametrize("seed", range(TESTS))
def test_every_answer_of_a_schedule_on_a_device_is_that_of_its_single_run_in_numpy(
    seed: int, any_device: Device
) -> None:
    rng = np.random.default_rng(seed)
    for number in range(SCHEDULES // TESTS):
        fake = FakeEngine(MANIFEST, HashModel(32, number))
        there = on_fake(HostEngine(fake, any_device), number % 2)
        compare(there, on_fake(fake, number % 2), rng)


@pytest.mark.parametrize("family", ["dream", "llada"])
def test_every_answer_of_a_schedule_on_onnx_runtime_is_that_of_its_single_run(
    family: str, exported: Callable[..., Path]
) -> None:
    artifact = Artifact.open(exported(family))
    manifest, engine = artifact.manifest, open_engine(artifact, threads=1)
    rules = [
        OnePerStep(),
        Threshold(0.6),
        Factor(2.0),
        LocalLeap(0.7, 0.3),
        DAWN,
        SCALED,
        Dapd(),
        KLASS,
    ]
    model = Model(
        engine, manifest.tokens.mask, manifest.tokens.eos, manifest.prediction_shift, 20, rules
    )
    rng = np.random.default_rng(1)
    try:
        for _ in range(4):
            for row, left, scheme in play(model, rng):
                alone = model.alone(row, scheme, left.step)
                assert left.ids.tolist() == alone.ids.tolist(), scheme
                assert (left.step, left.fed) == (alone.step, alone.fed)
    finally:
        engine.close()


# Requests that end before their answers do


CACHED = Unmask(OnePerStep(), Blocks(4), Dual())


def request(new: int, scheme: Scheme = CACHED, **limits: Any) -> Request:
    (row,) = begin([[1, 2]], new)
    return Request(row, scheme, Limits(**limits))


def narrow() -> tuple[Batch, RequestBatch]:
    """Room for two rows."""
    batch = Batch(FakeEngine(MANIFEST), Packer(0), max_rows=2, max_tokens=24)
    return batch, RequestBatch(batch)


def test_cancelled_requests_free_their_place_before_the_next_step() -> None:
    inner, batch = narrow()
    first, second = (batch.admit(request(9)) for _ in range(2))
    batch.step()
    with pytest.raises(BatchFullError):
        batch.admit(request(9))
    batch.requests[first].cancel()
    assert batch.step() == (second,)
    assert tuple(inner.rows) == (second,), "the row is gone and its keys with it"
    assert batch.is_over(first)
    third = batch.admit(request(9))
    assert batch.step() == (second, third)
    result = batch.leave(first).result()
    assert (result.finish_reason, result.forwards, len(result.trace)) == ("cancelled", 1, 1)


def test_expired_requests_free_their_place_and_their_time_is_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("dawn_runtime.request.time", SimpleNamespace(perf_counter=lambda: now[0]))
    inner, batch = narrow()
    first = batch.admit(request(9, timeout=5))
    batch.step()
    now[0] = 3.0
    second = batch.admit(request(9, timeout=5))
    assert batch.step() == (first, second)
    now[0] = 5.0
    assert batch.step() == (second,), "its time began with its own first step"
    assert tuple(inner.rows) == (second,)
    now[0] = 8.0
    assert batch.step() == ()
    assert not inner.rows
    reasons = {key: batch.leave(key).result().finish_reason for key in (first, second)}
    assert reasons == {first: "timeout", second: "timeout"}


def test_limits_of_forwards_and_ends_free_places_too() -> None:
    inner, batch = narrow()
    short, limited = batch.admit(request(2)), batch.admit(request(9, max_forwards=3))
    batch.step()
    batch.step()
    assert tuple(inner.rows) == (limited,), "the first has its answer"
    longer = batch.admit(request(4))
    batch.step()
    assert batch.step() == (longer,)
    while batch.step():
        pass
    assert not inner.rows
    results = [batch.leave(key).result() for key in (short, limited, longer)]
    assert [result.finish_reason for result in results] == ["length", "max_forwards", "length"]
    assert [result.forwards for result in results] == [2, 3, 4]
    assert not batch.requests


def test_a_request_that_left_is_named_and_one_may_leave_unfinished() -> None:
    inner, batch = narrow()
    key = batch.admit(request(9))
    batch.step()
    left = batch.leave(key)
    assert (left.row.step, left.result().finish_reason) == (1, "length")
    assert not inner.rows
    for call in (batch.leave, batch.is_over, batch.row):
        with pytest.raises(Exception, match=f"no request has the key {key}; it left or never"):
            call(key)


def test_requests_of_a_schedule_may_be_cancelled_at_any_time() -> None:
    rng = np.random.default_rng(3)
    model = Model(FakeEngine(MANIFEST), MANIFEST.tokens.mask, (), 0, 14, POLICIES)
    for _ in range(20):
        wanted = [
            Request(random_row(rng, model), random_scheme(rng, model), Limits()) for _ in range(4)
        ]
        begun = [one.row for one in wanted]
        batch = RequestBatch(model.batch(16, 16 * 21))
        keys = [batch.admit(one) for one in wanted]
        while batch.step():
            if rng.random() < 0.2:
                wanted[int(rng.integers(4))].cancel()
        for key, row in zip(keys, begun, strict=True):
            left = batch.leave(key)
            assert same_row(left.row, model.alone(row, left.scheme, left.row.step))


def test_an_empty_batch_of_requests_has_nothing_to_do() -> None:
    inner, batch = narrow()
    assert batch.step() == ()
    assert finished(inner).forwards == 0
