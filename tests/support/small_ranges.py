"""Small calibrations of ranges, on random checkpoints."""

from pathlib import Path
from typing import Any

from dawn_calibration.checkpoints import open_checkpoint
from dawn_calibration.prompts import Question
from dawn_calibration.ranges.calibrate import Calibrator, Found, Storage
from dawn_calibration.ranges.options import RangeOptions

QUESTIONS = [Question([1 + i, 2, 3 + i], f"prompt {i}") for i in range(5)]
SHORT = RangeOptions(max_new_tokens=8, block_length=4, samples=4)


def calibrator(
    checkpoint: Path, state: Path, options: RangeOptions = SHORT, **changes: Any
) -> Calibrator:
    """A run that saves its state after every prompt; `changes` are further arguments."""
    questions = changes.pop("questions", QUESTIONS)
    return Calibrator(open_checkpoint(checkpoint), questions, options, Storage(state, 1), **changes)


def found(checkpoint: Path, folder: Path, options: RangeOptions = SHORT) -> Found:
    """What a run finds; its state stays in the folder as `state`."""
    return calibrator(checkpoint, folder / "state", options).run()
