"""Everything this package raises on purpose, under the root of the runtime's tree.

    DawnError
    └── CalibrationError      a calibration that cannot be done as asked
        ├── ActivationError   the model computes NaN or infinity; the message names the layer
        ├── StateError        the state of an interrupted run is damaged, or of another run
        ├── MismatchError     two artifacts are not of the same model
        └── CheckerError      a program that shall judge answers fails

Options with bad values raise the runtime's `OptionError`, prompts its `PromptError`.
"""

from __future__ import annotations

from dawn_runtime.errors import DawnError


class CalibrationError(DawnError):
    """The model cannot be calibrated as asked; the message says why and what to do."""


class ActivationError(CalibrationError):
    """An activation is NaN or infinite."""


class StateError(CalibrationError):
    """What an interrupted run left behind cannot be taken up."""


class MismatchError(CalibrationError):
    """Two artifacts that shall be compared differ in more than their precision."""


class CheckerError(CalibrationError):
    """The program that shall judge answers fails, or prints no verdicts."""
