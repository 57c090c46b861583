"""A calibration of ranges that is interrupted: what it leaves, and who may take it up."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_calibration.errors import StateError
from dawn_calibration.ranges import calibrate
from dawn_calibration.ranges.identity import Identity
from dawn_calibration.ranges.options import RangeOptions
from dawn_calibration.ranges.strata import Strata
from support.checkpoints import write_checkpoint
from support.small_ranges import QUESTIONS, SHORT, calibrator, found


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("small") / "checkpoint", "dream")


class InterruptedRunError(Exception):
    pass


@pytest.mark.parametrize("stop", [2, 7])
def test_a_resumed_run_finds_what_an_uninterrupted_one_does(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    whole = found(checkpoint, tmp_path)
    watch, seen = calibrate.Watcher.watch, []

    def interrupted(self: Any, number: int, prompt: Any) -> int:
        if len(seen) == stop:
            raise InterruptedRunError
        seen.append(number)
        return watch(self, number, prompt)

    state = tmp_path / "interrupted"
    with monkeypatch.context() as patch:
        patch.setattr(calibrate.Watcher, "watch", interrupted)
        with pytest.raises(InterruptedRunError):
            calibrator(checkpoint, state).run()
    resumed = calibrator(checkpoint, state).run()
    assert resumed.resumed == stop % len(QUESTIONS)
    assert resumed.calibration.to_json() == whole.calibration.to_json()


def test_the_state_of_another_run_is_refused_by_what_differs(
    checkpoint: Path, tmp_path: Path
) -> None:
    found(checkpoint, tmp_path)
    state = tmp_path / "state"
    with pytest.raises(StateError, match="left by a run with other prompts; repeat that run"):
        calibrator(checkpoint, state, questions=QUESTIONS[:3]).run()
    options = replace(SHORT, samples=2, smooth=False)
    with pytest.raises(StateError) as failure:
        calibrator(checkpoint, state, options).run()
    assert "with --smooth instead of --no-smooth, --samples 4 instead of --samples 2;" in str(
        failure.value
    )
    other = write_checkpoint(
        tmp_path / "other", "dream", lambda tensors: [t.mul_(2) for t in tensors.values()]
    )
    with pytest.raises(StateError, match="left by a run with another model; repeat"):
        calibrator(other, state).run()


def test_settings_that_differ_are_named_as_their_flags() -> None:
    longer = RangeOptions(max_new_tokens=8, seen="unmasked", strata=Strata(3))
    left, ours = (Identity({}, "", o.to_settings()) for o in (longer, RangeOptions()))
    assert ours.differences(left) == [
        "--strata unmasked instead of --strata decoding",
        "--bins 3 instead of --bins 5",
        "--max-new-tokens 8 instead of no --max-new-tokens",
    ]
    assert left.differences(left) == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"\x93NUMPY"])
def test_a_damaged_state_is_refused(checkpoint: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state").write_bytes(content)
    expected = r"state: damaged; delete it to start anew, or give another --state$"
    with pytest.raises(StateError, match=expected):
        calibrator(checkpoint, tmp_path / "state").run()


def test_a_state_cut_short_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    found(checkpoint, tmp_path)
    whole = (tmp_path / "state").read_bytes()
    (tmp_path / "state").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StateError, match="damaged"):
        calibrator(checkpoint, tmp_path / "state").run()


@pytest.mark.parametrize(("offset", "value"), [(8, 1), (10, 99)])
def test_a_state_whose_archive_claims_a_password_or_a_compression_is_refused(
    checkpoint: Path, tmp_path: Path, offset: int, value: int
) -> None:
    found(checkpoint, tmp_path)
    content = bytearray((tmp_path / "state").read_bytes())
    content[content.index(b"PK\x01\x02") + offset] = value  # of its first file, in the directory
    (tmp_path / "state").write_bytes(content)
    with pytest.raises(StateError, match="damaged"):
        calibrator(checkpoint, tmp_path / "state").run()


def test_a_state_that_lacks_an_array_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    found(checkpoint, tmp_path)
    state = tmp_path / "state"
    with np.load(state) as saved:
        kept = {name: saved[name] for name in saved.files if name != "rows"}
    with state.open("wb") as file:
        np.savez(file, allow_pickle=False, **kept)
    with pytest.raises(StateError, match="state: damaged"):
        calibrator(checkpoint, state).run()


def test_a_state_that_cannot_be_read_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with pytest.raises(StateError, match=r"state: cannot be read \(Is a directory\); delete it"):
        calibrator(checkpoint, tmp_path / "state").run()


def test_samples_of_masked_rows_are_masked_rows(checkpoint: Path, tmp_path: Path) -> None:
    calibrator(checkpoint, tmp_path / "state", SHORT).run()
    with np.load(tmp_path / "state", allow_pickle=False) as saved:
        assert json.loads(saved["header"].tobytes())["phase"] == "measure"
