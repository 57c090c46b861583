"""The state of a training run on disk, so that it can be stopped and resumed at any time."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from dawn_models import Transformer


class StopRequest:
    """Whether this process was asked to end; from now on it is not ended by SIGTERM itself."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


def save_state(
    path: Path, step: int, model: Transformer, optimisers: list[torch.optim.Optimizer]
) -> None:
    """Write model and optimisers to `path`, replacing it only once all is written."""
    state = {
        "step": step,
        "model": model.state_dict(),
        "optimisers": [o.state_dict() for o in optimisers],
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def load_state(path: Path, model: Transformer, optimisers: list[torch.optim.Optimizer]) -> int:
    """Restore a run; returns the number of steps it has done."""
    state: dict[str, Any] = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    for optimiser, saved in zip(optimisers, state["optimisers"], strict=True):
        optimiser.load_state_dict(saved)
    return int(state["step"])
