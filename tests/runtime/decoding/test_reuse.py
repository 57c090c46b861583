"""Rows that begin alike compute their common text once, and answer as they would alone."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import Blocks, Dual, NoCache, Threshold
from dawn_runtime.arrays import IntArray
from dawn_runtime.cuda import Device, DeviceKv
from dawn_runtime.decoding import Batch, Causal, Packer, RowState, Scheme, Unmask
from dawn_runtime.decoding.device_batch import DeviceBatch
from dawn_runtime.decoding.prefixes import PrefixCache
from dawn_runtime.decoding.schemes import Autoregressive, LinearSpeculation, SelfVerify
from dawn_runtime.decoding.schemes.block_causal import BlockCausal
from dawn_runtime.decoding.schemes.causal_rows import CausalRows
from dawn_runtime.engine.fake import FakeEngine
from dawn_runtime.generation import open_batch
from support.decoding import MANIFEST, MASK, Steady
from support.device_engine import HostEngine
from support.host_device import HostDevice

HALF = Threshold(0.5)
SCHEMES: list[Scheme] = [
    BlockCausal(HALF, Blocks(32), Causal(), block_length=3),
    BlockCausal(HALF, Blocks(2), Dual(), block_length=4, origin="prompt"),
    BlockCausal(HALF, Blocks(32), Causal(), block_length=4, carry=True, causal=True),
    CausalRows(HALF, Blocks(4), Causal()),
    Autoregressive(),
    LinearSpeculation(4),
    SelfVerify(0.5, block_length=3),
]


def begun(scheme: Any, prompt: list[int], new: int) -> RowState:
    total = len(prompt) + new
    length = scheme.length(len(prompt), total) if hasattr(scheme, "length") else total
    return RowState.begin(np.array(prompt), new, MASK, length=length)


def batch_with(prefixes: PrefixCache | None, model: Any) -> Batch:
    engine = FakeEngine(MANIFEST, model)
    packer = Packer.for_engine(0, engine.describe())
    return Batch(engine, packer, max_rows=8, max_tokens=8 * 60, prefixes=prefixes)


def answers(batch: Batch, scheme: Scheme, prompts: list[list[int]], new: int) -> list[RowState]:
    keys = [batch.admit(begun(scheme, prompt, new), scheme) for prompt in prompts]
    while batch.active:
        batch.step()
    return [batch.leave(key) for key in keys]


@given(
    scheme=st.sampled_from(SCHEMES),
    common=st.lists(st.integers(1, 9), max_size=9),
    tails=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=4),
    new=st.integers(1, 9),
    share=st.sampled_from([0.0, 0.7]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=100)
def test_an_answer_is_what_it_is_alone(
    scheme: Scheme, common: list[int], tails: list[list[int]], new: int, share: float, seed: int
) -> None:
    model, prefixes = Steady(share, seed), PrefixCache(10**6)
    prompts = [common + tail for tail in tails]
    alone = [answers(batch_with(None, model), scheme, [one], new)[0] for one in prompts]
    for _ in range(2):
        together = answers(batch_with(prefixes, model), scheme, prompts, new)
        assert [row.ids.tolist() for row in together] == [row.ids.tolist() for row in alone]
    turn = [*prompts[0], *alone[0].answer.tolist(), 3, 4]
    (second,) = answers(batch_with(prefixes, model), scheme, [turn], new)
    (expected,) = answers(batch_with(None, model), scheme, [turn], new)
    assert second.ids.tolist() == expected.ids.tolist()


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: f"{scheme.name}-{scheme.cache.name}")
def test_the_second_of_two_feeds_what_is_new_to_it(scheme: Any) -> None:
    model, prefixes = Steady(0.5, 1), PrefixCache(10**6)
    common = list(range(1, 13))
    first, second = answers(batch_with(prefixes, model), scheme, [[*common, 1], [*common, 2]], 4)
    # Blocks that are counted from the end of a prompt of 13 end at 9.
    whole = 9 if getattr(scheme, "origin", "") == "prompt" else 12
    assert (first.reused, second.reused) == (0, whole)
    (again,) = answers(batch_with(prefixes, model), scheme, [[*common, 1]], 4)
    assert again.reused >= whole
    assert again.fed == first.fed - again.reused
    (alone,) = answers(batch_with(None, model), scheme, [[*common, 2]], 4)
    assert second.fed == alone.fed - whole
    assert second.step == alone.step


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: f"{scheme.name}-{scheme.cache.name}")
def test_next_to_an_engine_on_a_device_as_much_is_taken_over(
    scheme: Any, any_device: Device
) -> None:
    common = list(range(1, 13))
    prompts = [[*common, 1], [*common, 2], [3, 4]]
    found = []
    for on_device in (False, True):
        prefixes, rows = PrefixCache(10**6), list[RowState]()
        for asked in (prompts, [[*common, 1, 5], *prompts[1:]]):
            engine: Any = FakeEngine(MANIFEST, Steady(0.5, 1))
            packer = Packer.for_engine(0, engine.describe())
            engine = HostEngine(engine, any_device) if on_device else engine
            batch = open_batch(engine, packer, max_rows=8, max_tokens=480, prefixes=prefixes)
            assert isinstance(batch, DeviceBatch) == on_device
            rows += answers(batch, scheme, asked, 5)
        found.append(([(row.ids.tolist(), row.reused, row.fed) for row in rows], prefixes.reuse))
    assert found[0] == found[1]
    assert found[1][1].hits >= 3


def test_what_is_held_is_not_copied_from_a_device_again(
    host: HostDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefixes, fake = PrefixCache(10**6), FakeEngine(MANIFEST, Steady(0.5, 1))
    packer, save, saved = Packer.for_engine(0, fake.describe()), DeviceKv.save, list[int]()

    def noted(self: DeviceKv, row: int, slots: IntArray) -> Any:
        saved.append(len(slots))
        return save(self, row, slots)

    monkeypatch.setattr(DeviceKv, "save", noted)
    for _ in range(2):
        engine = HostEngine(fake, host)
        batch = open_batch(engine, packer, max_rows=1, max_tokens=60, prefixes=prefixes)
        answers(batch, Autoregressive(), [[1, 2, 3, 4]], 3)
    assert saved == [4, 5], "the prompt, and with it what was fed later"


def test_the_next_turn_of_a_chat_begins_where_this_one_ended() -> None:
    scheme, model, prefixes = SCHEMES[3], Steady(0.5, 1), PrefixCache(10**6)
    (turn,) = answers(batch_with(prefixes, model), scheme, [[1, 2, 3]], 12)
    ids = [1, 2, 3, *turn.answer.tolist()]
    (following,) = answers(batch_with(prefixes, model), scheme, [[*ids, 7, 8]], 4)
    assert following.reused >= 9
    (alone,) = answers(batch_with(None, model), scheme, [[*ids, 7, 8]], 4)
    assert following.fed == alone.fed - following.reused


def test_rows_that_look_ahead_take_nothing_over_and_do_not_wait() -> None:
    prefixes = PrefixCache(10**6)
    batch = batch_with(prefixes, Steady(0.5, 1))
    scheme = Unmask(HALF, Blocks(4), NoCache())
    keys = [batch.admit(RowState.begin(np.array([1, 2, 3]), 4, MASK), scheme) for _ in range(2)]
    assert batch.step() == tuple(keys)
    assert prefixes.reuse.lookups == 0


def test_a_row_waits_once_for_another_and_never_for_ever() -> None:
    """Nothing can be held, so waiting was in vain: it begins in the next step all the same."""
    batch = batch_with(PrefixCache(1), Steady(0.5, 1))
    scheme = SCHEMES[3]
    one, two = (batch.admit(begun(scheme, [1, 2, 3, last], 3), scheme) for last in (4, 5))
    assert batch.step() == (one,)
    assert two in batch.step()


def test_where_nothing_may_be_held_nobody_looks_or_waits() -> None:
    prefixes = PrefixCache(0)
    batch = batch_with(prefixes, Steady(0.5, 1))
    keys = [batch.admit(begun(SCHEMES[3], [1, 2, 3, last], 3), SCHEMES[3]) for last in (4, 5)]
    assert batch.step() == tuple(keys)
    assert prefixes.reuse.lookups == 0
