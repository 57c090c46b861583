"""A record says what every step did and why; decoding is the same with it and without."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Blocks, Decoder, Filling, NoCache
from dawn_runtime.cuda import Device
from dawn_runtime.decoding import Packer, Recorder, Unmask
from dawn_runtime.engine.fake import FakeEngine, HashModel, fake_manifest
from dawn_runtime.generation import open_batch
from support.decoding import DAWN, begin, same_row
from support.device_engine import HostEngine

MANIFEST = replace(fake_manifest(), prediction_shift=0)
CASES: dict[str, dict[str, Any]] = {
    "dawn": {"policy": DAWN},
    "dawn, dual": {"policy": "dawn", "cache": "dual"},
    "threshold, budget": {
        "policy": "threshold",
        "options": {"threshold": 0.2},
        "guard": ["budget:nats=1", "adjacent"],
    },
    "klass": {"policy": "klass"},
    "drawn": {"policy": "threshold", "temperature": 0.8, "seed": 3},
    "guided": {"policy": "dawn", "guidance": 1.0},
    "wino": {"policy": "wino", "options": {"threshold": 0.01, "revoke_threshold": 0.5}},
    "edit": {"policy": "edit"},
    "p2": {"policy": "p2"},
    "verify": {"policy": "verify"},
    "verify, rows": {"policy": "verify", "options": {"how": "rows"}},
    "freedave": {"policy": "freedave"},
    "info-gain": {"policy": "info-gain"},
    "single": {"policy": "dawn", "window": "single"},
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("shift", [0, 1])
def test_the_record_is_of_the_run_and_changes_nothing(name: str, shift: int) -> None:
    if name == "wino" and shift:
        return  # it decodes no such model
    manifest = replace(MANIFEST, prediction_shift=shift)
    decoder = Decoder(manifest, FakeEngine(manifest))
    given: dict[str, Any] = {"input_ids": [5, 6, 7], "max_new_tokens": 40, **CASES[name]}
    plain, result = decoder.generate(**given), decoder.generate(**given, record=True)
    assert plain.record is None
    assert result.record is not None
    assert [step.step for step in result.record] == list(range(result.forwards))
    assert sum(step.fed for step in result.record) == result.rows_fed
    for key, value in plain.to_dict().items():
        assert key.endswith("seconds") or result.to_dict()[key] == value
    decided = dict[int, tuple[int, int]]()
    for step in result.record:
        for position in step.revoked:
            assert position in decided, "only what was decided is taken back"
            del decided[position]
        for choice in step.commits:
            assert choice.position not in decided
            decided[choice.position] = (step.step, choice.token)
        if step.window is not None:
            begin, end = step.window
            assert all(begin <= choice.position < end for choice in step.commits)
        assert not {p for p, _ in step.held} & {choice.position for choice in step.commits}
        assert len(step.positions) == len(step.confidence)
    assert decided == {one.position: (one.step, one.token) for one in result.trace}


def test_what_happens_to_tokens_is_told() -> None:
    seen: dict[str, int] = {}
    for settings in CASES.values():
        decoder = Decoder(MANIFEST, FakeEngine(MANIFEST))
        for seed in range(3):
            result = decoder.generate(
                input_ids=[5, 6, seed], max_new_tokens=60, record=True, **settings
            )
            for step in result.record or ():
                happened = [choice.reason for choice in step.commits]
                happened += ["revoked"] * len(step.revoked) + ["waits"] * len(step.waits)
                happened += [guard for _, guard in step.held] + ["sink"] * len(step.sinks)
                happened += ["predicted"] * len(step.positions)
                for what in happened:
                    seen[what] = seen.get(what, 0) + 1
    expected = {"sure", "free", "best", "chosen", "confirmed", "revoked", "waits", "budget"}
    assert expected | {"adjacent", "induced", "sink", "predicted"} <= set(seen)


def test_a_request_of_an_open_batch_and_a_template_are_recorded_too() -> None:
    decoder = Decoder(MANIFEST, FakeEngine(MANIFEST))
    mask = MANIFEST.tokens.mask
    ids = np.array([3, mask, 4, mask, mask])
    with decoder.batch() as batch:
        key = batch.admit(Filling(input_ids=ids), record=True)
        other = batch.admit(input_ids=[3], max_new_tokens=5)
        while not (batch.finished(key) and batch.finished(other)):
            batch.step()
        record = batch.leave(key).record
        assert batch.leave(other).record is None
    assert record is not None
    assert sorted(one.position for step in record for one in step.commits) == [1, 3, 4]


def test_next_to_a_device_the_host_chooses_what_is_recorded(any_device: Device) -> None:
    fake = FakeEngine(MANIFEST, HashModel(MANIFEST.dims.vocab_size))
    packer = Packer.for_engine(0, fake.describe())
    bounds = {"max_rows": 2, "max_tokens": 88}
    here = open_batch(fake, packer, **bounds)
    there = open_batch(HostEngine(fake, any_device), packer, **bounds)
    recorders = []
    for batch in (here, there):
        recorder, scheme = Recorder(), Unmask(DAWN, Blocks(8), NoCache())
        (row,) = begin([[1, 2, 3]], [20])
        batch.admit(row, scheme, recorder)
        batch.admit(row, scheme)
        while batch.active:
            batch.step()
        recorders.append(recorder)
        recorded, plain = batch.rows.values()
        assert same_row(recorded, plain)
    left, right = (recorder.steps for recorder in recorders)
    assert [step.commits for step in left] == [step.commits for step in right]
    assert [step.sinks for step in left] == [step.sinks for step in right]


def test_who_takes_each_step_as_it_is_made_gets_all_of_them_and_none_is_kept() -> None:
    decoder = Decoder(MANIFEST, FakeEngine(MANIFEST))
    settings: Any = {"policy": "dawn", "max_new_tokens": 24, "record": True}
    whole = decoder.generate(input_ids=[1, 2, 3], **settings).record
    request = decoder.prepare(input_ids=[1, 2, 3], **settings)
    assert request.recorder is not None
    taken = []
    with decoder.batch(max_rows=1) as batch:
        key = batch.admit(request)
        while not batch.finished(key):
            batch.step()
            taken.append(request.recorder.take())
            assert request.recorder.take() is None
        assert batch.leave(key).record == ()
    assert [one and (one.step, one.commits, one.waits) for one in taken] == [
        (one.step, one.commits, one.waits) for one in whole or ()
    ]
