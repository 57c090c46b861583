"""Decoding on a device decides what decoding in NumPy decides, and asks the host for little."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dawn_runtime.decoding.device_run import DeviceRun

from dawn_runtime import Blocks, Decoder, EngineError, Pruned, Single, Sliding, Threshold
from dawn_runtime.decoding import DecodeState, HostRun, Sampling, Window, begin_run
from dawn_runtime.decoding.caches import Dual
from dawn_runtime.engine.fake import FakeEngine, HashModel
from dawn_runtime.policies import Policy
from support.decoding import DAWN, MANIFEST, SCALED, begin, packer, same_row
from support.device_engine import HostEngine
from support.host_device import HostDevice

PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10], [3, 3]]
COUNTS = [20, 9, 33, 24]


def both(
    host: HostDevice, policy: Policy, window: Window, *, end: bool, shift: int, seed: int
) -> tuple[DeviceRun, HostRun, HostEngine]:
    """The same batch, on a device and in NumPy, run to its end."""
    fake = FakeEngine(MANIFEST, HashModel(32, seed))
    engine = HostEngine(fake, host)
    state = begin(PROMPTS, COUNTS, policy, window, end=end)
    there, here = begin_run(engine, packer(shift), state), begin_run(fake, packer(shift), state)
    assert isinstance(there, DeviceRun)
    assert isinstance(here, HostRun)
    while here.active:
        assert there.active
        there.step()
        here.step()
        assert there.taken == here.taken
    assert not there.active
    return there, here, engine


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("shift", "end"), [(0, False), (1, True)])
@pytest.mark.parametrize("window", [Blocks(8), Single(), Sliding(6), Sliding(6, "fixed")], ids=str)
@pytest.mark.parametrize("policy", [DAWN, SCALED, Threshold(0.6)], ids=lambda p: p.name)
def test_rows_on_a_device_end_as_they_do_in_numpy(
    policy: Policy, window: Window, shift: int, end: bool, seed: int, host: HostDevice
) -> None:
    there, here, _ = both(host, policy, window, end=end, shift=shift, seed=seed)
    for left, right in zip(there.rows, here.rows, strict=True):
        assert same_row(left, right)
        assert left.fed == right.fed
        assert left.finished
        assert left.trace() == right.trace()


def test_finished_rows_leave_the_batch(host: HostDevice) -> None:
    _, _, engine = both(host, DAWN, Blocks(8), end=False, shift=0, seed=0)
    batches = [shape[0] for shape, _ in engine.steps]
    assert batches == sorted(batches, reverse=True)
    assert (batches[0], batches[-1]) == (4, 1)


def test_head_runs_on_the_rows_that_the_rule_reads(host: HostDevice) -> None:
    _, _, engine = both(host, Threshold(0.6), Blocks(8), end=False, shift=0, seed=0)
    assert {rows[1] for _, rows in engine.steps} <= set(range(1, 9))


def test_a_step_within_a_block_copies_nothing_but_a_status(host: HostDevice) -> None:
    fake = FakeEngine(MANIFEST, HashModel(32, 1))
    state = begin([[1, 2, 3]], 24, Threshold(1.0), Blocks(24), end=False)
    engine = HostEngine(fake, host)
    run = begin_run(engine, packer(), state)
    run.step()
    host.copies.clear()
    host.launched.clear()
    run.step()
    assert host.launched == ["decide"]
    # The stand-in engine fetches its inputs; what remains is the status of one row.
    assert host.copies[len(["ids", "positions", "mask", "logit rows", "evidence rows"]) :] == [16]


@pytest.mark.parametrize(
    "changes",
    [{"cache": Dual()}, {"sampling": Sampling(temperature=1.0)}, {"window": Pruned(8)}],
    ids=lambda c: next(iter(c)),
)
def test_rules_without_a_kernel_are_decided_in_numpy(
    changes: dict[str, Any], host: HostDevice
) -> None:
    engine = HostEngine(FakeEngine(MANIFEST), host)
    state = begin(PROMPTS, 8, DAWN, Blocks(8), end=False)
    rules = tuple(replace(one, **changes) for one in state.rules)
    assert isinstance(begin_run(engine, packer(), DecodeState(state.rows, rules)), HostRun)
    mixed = (replace(state.rules[0], policy=Threshold()), *state.rules[1:])
    assert isinstance(begin_run(engine, packer(), DecodeState(state.rows, mixed)), HostRun)


def test_nan_from_the_engine_is_the_error_it_is_in_numpy(host: HostDevice) -> None:
    class Broken(FakeEngine):
        def run(self, inputs: Any) -> Any:
            outputs = super().run(inputs)
            outputs.attention[0, 0, 0] = np.nan
            return outputs

    engine = HostEngine(Broken(MANIFEST), host)
    run = begin_run(engine, packer(), begin(PROMPTS, 8, DAWN, Blocks(8), end=False))
    with pytest.raises(EngineError, match="fake: output attention holds NaN or infinity"):
        run.step()


@pytest.mark.parametrize("spoilt", ["confidence", "attention"])
def test_after_a_fault_in_one_row_the_same_step_can_be_taken_again(
    spoilt: str, host: HostDevice
) -> None:
    class Broken(FakeEngine):
        broken = False

        def run(self, inputs: Any) -> Any:
            outputs = super().run(inputs)
            if self.broken:
                getattr(outputs, spoilt)[-1, 0] = np.nan
            return outputs

    fake = Broken(MANIFEST, HashModel(32, 3))
    state = begin(PROMPTS, COUNTS, DAWN, Blocks(8), end=False)
    run, other = (
        begin_run(HostEngine(fake, host), packer(), state),
        begin_run(fake, packer(), state),
    )
    while run.active:
        fake.broken = True
        with pytest.raises(EngineError, match=f"output {spoilt} holds NaN"):
            run.step()
        fake.broken = False
        run.step()
        other.step()
    assert all(map(same_row, run.rows, other.rows))


def test_decoder_gives_the_same_results_and_streams_on_a_device(host: HostDevice) -> None:
    fake = FakeEngine(MANIFEST, HashModel(32, 2))
    here, there = Decoder(MANIFEST, fake), Decoder(MANIFEST, HostEngine(fake, host))
    settings: dict[str, Any] = {"policy": DAWN.name, "options": DAWN.options(), "block_length": 8}
    prompts = [np.array(prompt) for prompt in PROMPTS]
    for left, right in zip(
        there.generate_batch(prompts, max_new_tokens=40, **settings),
        here.generate_batch(prompts, max_new_tokens=40, **settings),
        strict=True,
    ):
        assert left.trace == right.trace
        assert left.finish_reason == right.finish_reason
        np.testing.assert_array_equal(left.tokens, right.tokens)
        assert 0 < left.engine_seconds < left.seconds
    seen = list(there.watch(input_ids=[1, 2, 3], max_new_tokens=40, **settings))
    assert seen == list(here.watch(input_ids=[1, 2, 3], max_new_tokens=40, **settings))
    stopped = there.generate(input_ids=[1, 2, 3], max_forwards=1, **settings)
    assert (stopped.forwards, stopped.finish_reason) == (1, "max_forwards")
