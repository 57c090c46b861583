"""Calibrations interrupted at any moment: what is on disk is whole, and nothing is lost."""

import json
import os
import signal
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dawn_calibration.cli import main
from dawn_calibration.errors import StateError
from dawn_calibration.prompts import Question
from dawn_calibration.ranges import archive, calibrate, progress, recording
from dawn_calibration.ranges.options import RangeOptions
from dawn_calibration.torch_engine import TorchEngine
from dawn_runtime.errors import PromptError
from support.checkpoints import write_checkpoint
from support.small_ranges import QUESTIONS, SHORT, calibrator

PROMPTS = QUESTIONS[:3]
RUNS = 3 * 8
"""Of the network in each of the two phases."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("small") / "checkpoint", "dream")


@pytest.fixture(scope="module")
def whole(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """What an uninterrupted run finds, by its options."""
    known: dict[RangeOptions, str] = {}

    def of(options: RangeOptions = SHORT) -> str:
        if options not in known:
            state = tmp_path_factory.mktemp("whole") / "state"
            known[options] = result(checkpoint, state, options)
        return known[options]

    return of


def result(checkpoint: Path, state: Path, options: RangeOptions = SHORT) -> str:
    run = calibrator(checkpoint, state, options, questions=PROMPTS)
    return run.run().calibration.to_json()


@contextmanager
def interrupted(owner: Any, name: str, call: int, *, after: bool = False) -> Iterator[list[int]]:
    """Raises KeyboardInterrupt in the given call of a function, before it or when it is over."""
    kept, calls = vars(owner)[name], [0]
    function = kept.__func__ if isinstance(kept, classmethod) else kept

    def counting(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == call and not after:
            raise KeyboardInterrupt
        found = function(*arguments, **named)
        if calls[0] == call:
            raise KeyboardInterrupt
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, classmethod(counting) if function is not kept else counting)
        yield calls


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", [1, 2, 8, 9, 20, RUNS, RUNS + 1, RUNS + 13, 2 * RUNS])
def test_a_run_interrupted_at_a_run_of_the_network_finds_the_same(
    checkpoint: Path, tmp_path: Path, whole: Callable[..., str], call: int, after: bool
) -> None:
    state = tmp_path / "state"
    with interrupted(TorchEngine, "run", call, after=after), pytest.raises(KeyboardInterrupt):
        result(checkpoint, state)
    assert state.exists()
    expected = whole()
    with interrupted(TorchEngine, "run", 10**9) as calls:
        assert result(checkpoint, state) == expected
    assert calls == [2 * RUNS - (call - 1)], "nothing that was done is done again"


@pytest.mark.parametrize("call", [1, 3, 50, 150, 250, 333])
def test_a_run_interrupted_inside_the_network_finds_the_same(
    checkpoint: Path, tmp_path: Path, whole: Callable[..., str], call: int
) -> None:
    with interrupted(recording.Seen, "of", call), pytest.raises(KeyboardInterrupt):
        result(checkpoint, tmp_path / "state")
    assert result(checkpoint, tmp_path / "state") == whole()


@pytest.mark.parametrize("place", ["search_all", "fold", "Recorder", "torch"])
def test_a_run_interrupted_between_its_phases_finds_the_same(
    checkpoint: Path, tmp_path: Path, whole: Callable[..., str], place: str
) -> None:
    owner, name = (torch, "set_num_threads") if place == "torch" else (calibrate, place)
    with interrupted(owner, name, 1), pytest.raises(KeyboardInterrupt):
        result(checkpoint, tmp_path / "state")
    assert result(checkpoint, tmp_path / "state") == whole()


@pytest.mark.parametrize(
    "options",
    [
        replace(SHORT, policy="klass"),  # which wants logits, too large to keep
        replace(SHORT, policy="threshold"),
        replace(SHORT, seen="unmasked"),
        replace(SHORT, smooth=False),
    ],
    ids=lambda options: f"{options.policy}-{options.seen}-{options.smooth}",
)
def test_a_run_interrupted_again_and_again_finds_the_same(
    checkpoint: Path, tmp_path: Path, whole: Callable[..., str], options: RangeOptions
) -> None:
    for _ in range(100):
        with interrupted(recording.Recorder, "count", 5):
            try:
                found = result(checkpoint, tmp_path / "state", options)
            except KeyboardInterrupt:
                continue
        assert found == whole(options)
        return
    pytest.fail("it never ends")


def test_an_interrupt_while_the_state_is_written_leaves_the_one_before(
    checkpoint: Path, tmp_path: Path, whole: Callable[..., str]
) -> None:
    state = tmp_path / "state"
    with (
        interrupted(TorchEngine, "run", 12),
        interrupted(np, "savez", 2),  # the first prompt is saved, the interruption is not
        pytest.raises(KeyboardInterrupt),
    ):
        result(checkpoint, state)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    expected = whole()
    with interrupted(TorchEngine, "run", 10**9) as calls:
        assert result(checkpoint, state) == expected
    assert calls == [2 * RUNS - 8]


def test_a_state_that_cannot_be_written_when_interrupted_says_so(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(progress, "write_archive", full)
    with (
        interrupted(TorchEngine, "run", 3),
        pytest.raises(StateError, match=r"state: interrupted, .* \(No space left on device\)"),
    ):
        result(checkpoint, tmp_path / "state")


@pytest.mark.parametrize(
    ("number", "status", "said"), [(signal.SIGINT, 130, "interrupted"), (15, 143, "terminated")]
)
def test_the_command_keeps_what_is_done_and_takes_it_up(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    status: int,
    said: str,
) -> None:
    data, files = tmp_path / "data.jsonl", (tmp_path / "whole.json", tmp_path / "parts.json")
    data.write_text("".join(f'{{"input_ids": {list(q.prompt)}}}\n' for q in PROMPTS))
    flags = ["ranges", "--model", str(checkpoint), "--data", str(data), "--max-new-tokens", "8"]
    monkeypatch.setattr("dawn_calibration.ranges.report.draw_ranges", lambda *_: None)
    assert main([*flags, "--output", str(files[0])]) == 0
    capsys.readouterr()
    run, calls = TorchEngine.run, []

    def signalled(self: TorchEngine, inputs: Any) -> Any:
        calls.append(inputs)
        if len(calls) == 11:
            os.kill(os.getpid(), number)
        return run(self, inputs)

    monkeypatch.setattr(TorchEngine, "run", signalled)
    assert main([*flags, "--output", str(files[1])]) == status
    *_, line = capsys.readouterr().err.splitlines()
    state = tmp_path / "parts.json.state"
    assert f"{said} in phase observe, prompt 2 of 3, run 2; {state} keeps" in line
    assert main([*flags, "--output", str(files[1])]) == 0
    assert "as before the interruption" in capsys.readouterr().err
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not state.exists()


def test_the_number_of_threads_is_kept_because_results_depend_on_it(
    checkpoint: Path, tmp_path: Path
) -> None:
    before = torch.get_num_threads()
    try:
        with interrupted(TorchEngine, "run", 3), pytest.raises(KeyboardInterrupt):
            calibrator(checkpoint, tmp_path / "state", threads=3).run()
        resumed = calibrator(checkpoint, tmp_path / "state")
        resumed.run()
        assert resumed.threads is not None
        assert (resumed.threads.count, torch.get_num_threads()) == (3, 3)
        assert resumed.threads.line().endswith("threads: as before the interruption")
    finally:
        torch.set_num_threads(before)


def changed(state: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> None:
    """Changes the header and the arrays of a state as somebody with an editor would."""
    text, arrays = archive.read_archive(state)
    header = json.loads(text)
    change(header, arrays)
    archive.write_archive(state, header, arrays)


@pytest.mark.parametrize(
    "change",
    [
        lambda header, arrays: header.update(phase="third"),
        lambda header, arrays: header.update(done=99),
        lambda header, arrays: header.update(done=-1),
        lambda header, arrays: header.update(done=3),  # of three, with a trail of a fourth
        lambda header, arrays: header.update(forwards="many"),
        lambda header, arrays: header.update(threads=0),
        lambda header, arrays: header.update(trail=10**12),
        lambda header, arrays: header.update(smoothing={"layers.0.mlp_norm": {}}),
        lambda header, arrays: header["run"].update(more=1),
        lambda header, arrays: arrays.pop("trail/0/tokens"),
        lambda header, arrays: arrays.update(rows=arrays["rows"] + 1),
        lambda header, arrays: arrays.update(keys=arrays["keys"] * np.nan),
        lambda header, arrays: arrays.update(keys=arrays["keys"].astype(np.float32)),
        lambda header, arrays: arrays["counts/layers.0.o_proj"].__setitem__((0, 0), -1),
        lambda header, arrays: arrays["channel_max/layers.0.o_proj"].fill(np.inf),
        lambda header, arrays: arrays["samples/layers.0.mlp_norm"].fill(np.nan),
    ],
)
def test_a_state_that_no_run_has_written_is_refused(
    checkpoint: Path, tmp_path: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]
) -> None:
    state = tmp_path / "state"
    with interrupted(TorchEngine, "run", 3), pytest.raises(KeyboardInterrupt):
        result(checkpoint, state)
    changed(state, change)
    with pytest.raises(StateError, match="state: damaged; delete it to start anew"):
        result(checkpoint, state)


def test_a_state_of_another_version_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with interrupted(TorchEngine, "run", 3), pytest.raises(KeyboardInterrupt):
        result(checkpoint, tmp_path / "state")
    changed(tmp_path / "state", lambda header, arrays: header.update(format=1))
    with pytest.raises(StateError, match="left by another version of dawn-edge"):
        result(checkpoint, tmp_path / "state")


def test_arrays_that_claim_more_than_is_there_are_not_allocated(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "state", "w") as file, file.open("rows.npy", "w") as entry:
        claim = {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
        np.lib.format.write_array_header_1_0(entry, claim)
    with pytest.raises(ValueError, match="reshape"):
        archive.read_archive(tmp_path / "state")
    np.savez_compressed(tmp_path / "packed.npz", header=np.zeros(2**20, dtype=np.uint8))
    with pytest.raises(ValueError, match="is compressed"):
        archive.read_archive(tmp_path / "packed.npz")


def test_prompts_are_gone_through_once(checkpoint: Path, tmp_path: Path) -> None:
    once = calibrator(checkpoint, tmp_path / "a", questions=(q for q in PROMPTS)).run()
    listed = calibrator(checkpoint, tmp_path / "b", questions=PROMPTS).run()
    assert once.calibration == listed.calibration
    for nothing in ([], iter(())):
        with pytest.raises(PromptError, match="there are no prompts"):
            calibrator(checkpoint, tmp_path / "c", questions=nothing)
    with pytest.raises(PromptError, match="got 'text' among the prompts; expected Questions"):
        calibrator(checkpoint, tmp_path / "c", questions=[Question([1], "q"), "text"])
